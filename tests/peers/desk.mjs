// Chromium on the desk, for desk.py: the stories of an engineer, then every page in light and dark, on a laptop and on a phone: it does not scroll sideways, nothing on it fails,
// axe-core finds no serious fault, and a picture of it is kept. Standard input is a JSON object of settings; ends with 0 and the names of what passed, or with the first failure.
import { createServer } from 'node:http';
import { readFileSync, mkdirSync } from 'node:fs';
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
    answer.end(JSON.stringify(mended ? { resourceType: 'Bundle', type: 'batch-response' } : refusal));
  });
}).listen(settings.endpoint, '127.0.0.1');

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

const stories = {};

/** Every page that the navigation leads to, and those that stand in `settings.pages`, in each scheme and width. */
stories.every_page_can_be_looked_at = async () => {
  mkdirSync(settings.pictures, { recursive: true });
  for (const [scheme, size, width, height] of [['light', 'laptop', 1280, 800], ['dark', 'phone', 390, 844], ['dark', 'laptop', 1280, 800], ['light', 'phone', 390, 844]]) {
    const page = await visit({ scheme, width, height });
    const places = await page.$$eval('#nav a', (links) => links.map((link) => link.getAttribute('href')));
    for (const place of [...places, ...settings.pages]) {
      await page.goto(settings.base + place, { waitUntil: 'load' });
      await page.waitForSelector('h1');
      const name = place === '/' ? 'dashboard' : place.slice(1).replace(/\?.*/, '').replaceAll('/', '-').replace(/-\d+$/, '-one');
      await faultless(page, `${place} (${scheme}, ${size})`);
      await page.screenshot({ path: `${settings.pictures}/${name}-${scheme}-${size}.png` });
    }
    await page.context().close();
  }
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
