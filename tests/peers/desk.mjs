// Chromium on the desk, for desk.py: the stories of an engineer, then every page in light and dark, on a laptop and on a phone: it does not scroll sideways, nothing on it fails,
// axe-core finds no serious fault, and a picture of it is kept. Standard input is a JSON object of settings; ends with 0 and the names of what passed, or with the first failure.
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { readFileSync, mkdirSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const settings = JSON.parse(readFileSync(0, 'utf8'));
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const assert = (holds, what) => { if (!holds) throw new Error(what); };

// The endpoint of the route `ehr`: refuses until it is mended.
let mended = false;
const taken = [];
const endpoint = createServer((request, answer) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    if (mended) taken.push(body);
    const refusal = { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'invalid', diagnostics: 'the patient index is being rebuilt' }] };
    answer.writeHead(mended ? 200 : 422, { 'content-type': 'application/fhir+json' });
    const stored = () => ({ resourceType: 'Bundle', type: 'transaction-response', entry: JSON.parse(body).entry.map(() => ({ response: { status: '201 Created' } })) });
    answer.end(JSON.stringify(mended ? stored() : refusal));
  });
}).listen(settings.endpoint, '127.0.0.1');

/** Sends a message of the story, by what its file begins with, or another text; gives the acknowledgement. */
function send(message) {
  const file = readdirSync(settings.messages).find((name) => name.startsWith(message));
  const text = message.startsWith('MSH') ? message : readFileSync(`${settings.messages}/${file}`, 'utf8');
  return new Promise((resolve, reject) => {
    let got = '';
    const socket = connect(settings.mllp, '127.0.0.1', () => socket.write(`\x0b${text}\x1c\r`));
    socket.setEncoding('utf8');
    socket.on('data', (part) => {
      got += part;
      if (!got.includes('\x1c')) return;
      socket.destroy();
      if (/MSA\|[AC]A\|/.test(got)) resolve(got); else reject(new Error(`not taken: ${got}`));
    });
    socket.on('error', reject);
  });
}

/** A page of somebody who has signed in; what goes wrong on it is kept in `errors`. */
async function visit({ user = 'all', scheme = 'light', width = 1280, height = 800 } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce', timezoneId: 'America/New_York' });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (message) => message.type() === 'error' && page.errors.push(message.text()));
  page.on('dialog', (dialog) => { page.errors.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.goto(settings.base);
  await page.fill('[name=name]', user);
  await page.fill('form:has([name=name]) [name=password]', settings.passwords[user]);
  await page.press('form:has([name=name]) [name=password]', 'Enter');
  await page.waitForSelector('#nav', { state: 'attached' });
  return page;
}

async function faultless(page, where) {
  assert(page.errors.length === 0, `${where}: ${page.errors.join('; ')}`);
  const overflow = await page.evaluate(() => document.scrollingElement.scrollWidth - window.innerWidth);
  assert(overflow <= 0, `${where} scrolls sideways by ${overflow} pixels`);
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const serious = found.violations.filter((one) => ['serious', 'critical'].includes(one.impact));
  const told = serious.map((one) => `${one.id} (${one.nodes.slice(0, 3).map((node) => node.target.join(' ')).join(', ')})`);
  assert(serious.length === 0, `${where}: ${told.join('; ')}`);
}

const SIZES = [['light', 'laptop', 1280, 800], ['dark', 'phone', 390, 844], ['dark', 'laptop', 1280, 800], ['light', 'phone', 390, 844]];
const stories = {};
const HOSTILE = ['<script>hacked=1</script>', '<img src=x onerror=hacked=1>', '"><svg onload=hacked=1>', "'-hacked=1-'", '<a href=javascript:hacked=1>x</a>', '</textarea><script>hacked=1</script>',
  '</title><script>hacked=1</script>', '{{hacked=1}}', '${hacked=1}', '<b hx-get=/sign-out hx-trigger=load>x</b>', '<style>*{display:none}</style>', '</pre><h1>hacked</h1>', '--><script>hacked=1</script>',
  '&lt;script&gt;hacked=1', '<iframe srcdoc="<script>parent.hacked=1</script>">', '<form action=//evil.example><button>x', '\u2028hacked=1', '<details open ontoggle=hacked=1>', '<math><mtext><script>hacked=1', 'javascript:hacked=1'];

/** Which route is stuck, why, and how those messages are sent again: found from the first page by what it says, without knowing any address. */
stories.what_is_stuck_is_found_mended_and_sent_again = async () => {
  for (const message of ['1', '2', '3']) await send(message);
  const page = await visit();
  await page.waitForSelector('.wrongs li:has-text("ehr gave up")');
  await page.click('.wrongs li:has-text("ehr gave up") a[href^="/dead-letters"]');
  await page.waitForSelector('h1:has-text("Dead letters")');
  await page.waitForFunction(() => document.body.innerText.includes('422'));
  mended = true;
  await page.click('a.button:has-text("Send again…")');
  await page.waitForSelector('h1:has-text("Send again: 3 dead letters?")');
  assert(taken.length === 0, 'nothing is sent before somebody says so');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#progress.done, #progress .fault, #progress p:has-text("not")', { timeout: 8000 }).catch(() => {});
  const came = await page.innerText('#main');
  assert(came.includes('3 sent'), came);
  assert(taken.length === 3 && taken.every((body) => body.includes('OKAFOR')), `${taken.length} arrived`);
  await page.goto(`${settings.base}/dead-letters`);
  await page.waitForSelector('text=No dead letters');
  assert(page.errors.length === 0, page.errors.join('; '));
  await page.context().close();
  mended = false;
};

/** A message that has arrived is sent again from its page: what would bring an older state back takes a tick, and what has come of it stands on the page of the message. */
stories.any_message_is_sent_again_from_its_page = async () => {
  mended = true;
  const before = taken.length;
  const page = await visit({ user: 'operator' });
  await page.goto(`${settings.base}/messages/1`);
  await page.click('a:has-text("send it again…")');
  await page.waitForSelector('h1:has-text("Send message 1 again")');
  await faultless(page, 'sending a message again');
  assert(!(await page.innerText('#main')).includes('OKAFOR'), 'masked for who may not read messages');
  await page.check('input[name=route][value=ehr]');
  if (await page.isVisible('[name=overwrite]')) {
    await page.click('button:has-text("Send message 1 again")');
    await page.waitForSelector('.fault:has-text("may bring an older state back")');
    assert(taken.length === before, 'nothing is sent that nobody has agreed to');
    await page.goBack();
    await page.check('input[name=route][value=ehr]');
    await page.check('[name=overwrite]');
  }
  await page.click('button:has-text("Send message 1 again")');
  await page.waitForSelector('.done:has-text("It has arrived at ehr")');
  assert(taken.length === before + 1, `${taken.length - before} arrived`);
  await page.click('a:has-text("Back to the message")');
  await page.waitForSelector('#again');
  assert((await page.innerText('#main')).includes('operator'), 'who sent it stands there');
  page.errors = page.errors.filter((error) => !error.includes('409'));
  await faultless(page, 'a message that was sent again');
  await page.context().close();
  mended = false;
};

/** All that a search finds is sent again, once it has been seen how many they are; one that a newer message stands against is passed over until somebody says so. */
stories.all_of_a_search_is_sent_again = async () => {
  mended = true;
  mkdirSync(settings.pictures, { recursive: true });
  const before = taken.length;
  for (const [scheme, size, width, height] of SIZES) {
    const page = await visit({ user: 'operator', scheme, width, height });
    await page.goto(`${settings.base}/messages?first=1&last=3`);
    await page.click('button:has-text("Send all of these again")');
    await page.waitForSelector('h1:has-text("Send 3 messages again?")');
    await faultless(page, `sending all of a search again (${scheme}, ${size})`);
    await page.screenshot({ path: `${settings.pictures}/messages-many-${scheme}-${size}.png` });
    assert(!(await page.innerText('#main')).includes('OKAFOR'), 'masked for who may not read messages');
    await page.check('input[name=to][value=ehr]');
    await page.check('input[name=mappings][value=original]');
    // The last time all the same.
    const all = size === SIZES.at(-1)[1] && scheme === SIZES.at(-1)[0];
    if (all) await page.check('[name=overwrite]');
    await page.click('button:has-text("Send 3 again")');
    await page.waitForSelector(`#progress strong:has-text("${all ? 3 : 1} sent")`);
    await faultless(page, 'how far it has come');
    assert(page.errors.length === 0, page.errors.join('; '));
    await page.context().close();
  }
  assert(taken.length === before + SIZES.length - 1 + 3, `${taken.length - before} arrived`);
  mended = false;
};

/** An address that leads nowhere is a page with a way on. */
stories.an_address_of_nothing_is_a_page = async () => {
  const page = await visit({ user: 'viewer' });
  await page.goto(`${settings.base}/no-such-page`);
  await page.waitForSelector('.fault:has-text("no such page")');
  await page.click('#nav a[href="/"]');
  await page.waitForSelector('h1:has-text("Dashboard")');
  page.errors = page.errors.filter((error) => !error.includes('404'));
  await faultless(page, 'an address of nothing');
  await page.context().close();
};

/** A message that came in is opened, and a value of its Bundle leads to the field that it came from. */
stories.a_value_leads_to_its_field = async () => {
  const page = await visit();
  await page.goto(`${settings.base}/messages`);
  await page.keyboard.press('/');
  await page.keyboard.type('type:ADT^A01');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('table.messages tbody tr').length === 1);
  await page.keyboard.press('Escape');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.json .value');
  await page.hover('.json .value:has-text("OKAFOR")');
  await page.waitForFunction(() => [...document.querySelectorAll('.er7 .lit, .er7 .at')].some((leaf) => leaf.dataset.path.startsWith('PID-5')));
  await page.hover('.er7 .leaf[data-path^="PID-8"]');
  await page.waitForFunction(() => [...document.querySelectorAll('.json .lit, .json .at')].some((value) => value.dataset.path.includes('gender')));
  await faultless(page, 'the message');
  await page.context().close();
};

/** A mapping is changed in the playground, seen at once, and a mistake told with its line. */
stories.an_overlay_is_tried = async () => {
  const page = await visit({ user: 'viewer' });
  await page.goto(`${settings.base}/playground`);
  await page.fill('textarea[name=overlay]', '[table.AdministrativeSex]\n"2" = "female"\n');
  await page.waitForSelector('text=1 change');
  await page.fill('textarea[name=overlay]', '[PID.Patient.set]\nbirthdate = "7 : date"\n');
  await page.waitForSelector('.mistakes li:has-text("birthDate")');
  await faultless(page, 'the playground with a mistake');
  await page.context().close();
};

/** A loop is open until what was to happen has happened. */
stories.a_loop_is_closed = async () => {
  const page = await visit();
  // Its first steps may be overdue by now: the story begins two days ago.
  const steps = async () => {
    const found = [];
    for (const state of ['open', 'overdue', 'met', 'met-late']) {
      await page.goto(`${settings.base}/loops?panel=aco-lakeshore&state=${state}`);
      found.push(...await page.$$eval('.steps .state', (states) => states.map((one) => one.textContent.trim())));
    }
    return found;
  };
  const before = await steps();
  assert(before.length > 0, 'a discharge opens a loop');
  const met = (states) => states.filter((state) => state.startsWith('met')).length;
  for (const message of ['4', '5', '6']) await send(message);
  for (let tries = 0; met(await steps()) <= met(before); tries++) {
    assert(tries < 60, 'no step was met');
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await page.context().close();
};

/** The way from a rate to those who are behind it, and from one of them to what is known of them. */
stories.a_rate_leads_to_who_is_behind_it_and_to_their_card = async () => {
  mended = true;
  for (const message of settings.history) await send(message);
  const page = await visit();
  // All of it has to be counted first.
  for (let tries = 0; ; tries++) {
    await page.goto(`${settings.base}/measures`);
    const rows = await page.$$eval('tr', (all) => all.map((row) => row.innerText));
    if (rows.some((row) => row.includes('Visit with the care team within 7 days') && row.includes('%'))) break;
    assert(tries < 60, 'nothing is counted');
    await page.waitForTimeout(500);
  }
  await page.click('h2 a:has-text("aco-lakeshore")');
  await page.waitForSelector('#visit-7 svg.trend circle');
  await faultless(page, 'the measures of a panel');
  settings.pages.push(`${new URL(page.url()).pathname}#visit-7`);
  const counted = page.locator('#visit-7 tbody tr:has-text("%") th', { hasText: /^\d{4}-\d{2}$/ }).last();
  const month = await counted.innerText();
  await counted.locator('a').click();
  await page.waitForSelector('h1:has-text("within 7 days")');
  assert((await page.innerText('#main')).includes(month), 'it is of the month that was chosen');
  assert(await page.locator('.state:has-text("missing")').count() > 0, 'who was not seen is named');
  settings.pages.push(new URL(page.url()).pathname + new URL(page.url()).search);
  await page.click('tbody a.name');
  await page.waitForSelector('h2:has-text("Visits")');
  await faultless(page, 'the card of a member');
  // The patient of the story has more to show.
  for (const state of ['met-late', 'met', 'overdue', 'open']) {
    await page.goto(`${settings.base}/loops?panel=aco-lakeshore&state=${state}`);
    if (await page.locator('a.name:has-text("OKAFOR")').count() > 0) break;
  }
  await page.click('a.name:has-text("OKAFOR")');
  await page.waitForSelector('text=Furosemide');
  const card = await page.innerText('#main');
  for (const said of ['Penicillin', 'Creatinine', 'heart failure', 'Lakeshore']) assert(card.toLowerCase().includes(said.toLowerCase()), `the card says nothing of ${said}`);
  settings.pages.push(new URL(page.url()).pathname);
  // A viewer reads rates, and is led to nobody.
  const viewer = await visit({ user: 'viewer' });
  await viewer.goto(`${settings.base}/measures/aco-lakeshore`);
  assert(await viewer.locator('#visit-7 tbody a').count() === 0, 'a viewer sees who is behind a rate');
  await viewer.goto(page.url());
  await viewer.waitForSelector('.fault:has-text("phi-reader")');
  await viewer.context().close();
  assert(page.errors.length === 0, page.errors.join('; '));
  await page.context().close();
  mended = false;
};

/** Every page that the navigation leads to, and those that stand in `settings.pages`, in each scheme and width. */
stories.every_page_can_be_looked_at = async () => {
  mkdirSync(settings.pictures, { recursive: true });
  // Somebody else with the number of a member waits for review.
  const [admission] = readdirSync(settings.messages).filter((name) => name.startsWith('1'));
  const doubt = readFileSync(`${settings.messages}/${admission}`, 'utf8').replace('SB000101', 'DOUBT').replace('OKAFOR^MARISOL', 'LINDQVIST^OLE').replace('19510314', '19770809');
  await send(doubt.replace('|V20260302001', '|VDOUBT'));
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const letters = await visit();
  await letters.goto(`${settings.base}/dead-letters`);
  settings.pages.push(await letters.getAttribute('a[href^="/dead-letters/ehr/"]', 'href'));
  await letters.context().close();
  for (const [scheme, size, width, height] of SIZES) {
    const page = await visit({ scheme, width, height });
    const places = await page.$$eval('#nav a', (links) => links.map((link) => link.getAttribute('href')));
    for (const place of [...places, ...settings.pages]) {
      await page.goto(settings.base + place, { waitUntil: 'load' });
      await page.waitForSelector('h1');
      const name = place === '/' ? 'dashboard' : place.slice(1).replace(/[?#].*/, '').replace(/\/(\d+|[0-9a-f-]{36})$/, '/one').replaceAll('/', '-');
      if (name === 'no-such-page') page.errors = page.errors.filter((error) => !error.includes('404'));
      await faultless(page, `${place} (${scheme}, ${size})`);
      await page.screenshot({ path: `${settings.pictures}/${name}-${scheme}-${size}.png` });
    }
    await page.context().close();
  }
};

/** Whatever a sender writes where a name belongs, no page does any of it. */
stories.names_are_only_names = async () => {
  const [admission] = readdirSync(settings.messages).filter((name) => name.startsWith('1'));
  const text = readFileSync(`${settings.messages}/${admission}`, 'utf8');
  for (const [at, name] of HOSTILE.entries()) {
    const escaped = name.replaceAll('\\', '\\E\\').replaceAll('&', '\\T\\').replaceAll('|', '\\F\\').replaceAll('^', '\\S\\').replaceAll('~', '\\R\\');
    await send(text.replace('SB000101', `HOSTILE${at}`).replace('OKAFOR^MARISOL', `${escaped}^${escaped}`).replace('|V20260302001', `|V${at}`));
  }
  const page = await visit();
  await page.waitForTimeout(1000);
  await page.goto(`${settings.base}/messages`);
  const last = Number(await page.innerText('table.messages tbody th a'));
  for (const place of ['/messages', '/reviews', '/dead-letters', `/playground?seq=${last}`, ...HOSTILE.map((_, at) => `/messages/${last - at}`), `/messages/${last}/preview`]) {
    await page.goto(settings.base + place, { waitUntil: 'load' });
    assert(await page.evaluate(() => window.hacked === undefined && document.querySelector('#nav')?.offsetParent !== undefined), `${place} does what a name says`);
    assert(new URL(page.url()).pathname !== '/sign-in', `${place} does what a name says`);
  }
  const errors = page.errors.filter((error) => !/404/.test(error));
  assert(errors.length === 0, errors.join('; '));
  await page.context().close();
};

try {
  for (const [name, story] of Object.entries(stories)) {
    await story();
    console.log(`ok   ${name}`);
  }
} catch (error) {
  console.log(`FAIL ${error.stack}`);
  process.exitCode = 1;
}
await browser.close();
endpoint.close();
