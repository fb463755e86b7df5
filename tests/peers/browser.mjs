// Chromium for clients.py: opens the page at the URL that it is given, then does what its standard input says, a command a line, and answers each with `ok …` or `FAIL …`.
// An error on the page is a failure of the command that comes next.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const url = process.argv[2];
// As root there is no sandbox; the page is ours. Without the rest the browser asks its maker's hosts for this and that.
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args });
const page = await browser.newPage({ viewport: { width: 900, height: 290 } });
const errors = [];
page.on('pageerror', (error) => errors.push(error.message));
page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));

const timeout = 60_000;
const commands = {
  enter: () => page.goto(url, { timeout }),
  leave: () => page.goto('about:blank'),
  // Until there are so many of them, and no more.
  wait: async (selector, count) => {
    await page.waitForFunction(([selector, count]) => document.querySelectorAll(selector).length >= count, [selector, Number(count)], { timeout });
    const found = await page.locator(selector).count();
    if (found !== Number(count)) throw new Error(`${found} of ${selector}`);
  },
  row: (at) => page.locator('tr.event-notification').nth(Number(at) - 1).innerText(),
  text: () => page.locator('body').innerText(),
  picture: (path) => page.screenshot({ path }),
};
await commands.enter();
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...rest] = line.split('\t');
  try {
    const answer = await commands[name](...rest);
    if (errors.length) throw new Error(errors.join('; '));
    console.log(`ok ${typeof answer === 'string' ? JSON.stringify(answer) : ''}`);
  } catch (error) {
    console.log(`FAIL ${error.message.split('\n')[0]}`);
  }
}
await browser.close();
