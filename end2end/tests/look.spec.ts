// How it looks and feels: screenshots in shots/, everything by keyboard alone, and no violations of accessibility rules.
import AxeBuilder from '@axe-core/playwright';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from '../support/fixtures.ts';

// A picture differs by a blink of the caret: only who asks for it by SHOTS=1 gets the kept ones rewritten.
const shots = join(dirname(fileURLToPath(import.meta.url)), process.env.SHOTS ? '../shots' : '../test-results/shots');

test.use({ options: { rows: 2000 } });

const sizes = { wide: { width: 1280, height: 800 }, narrow: { width: 390, height: 844 } };

for (const scheme of ['light', 'dark'] as const) {
  for (const [size, viewport] of Object.entries(sizes)) {
    test(`${scheme} and ${size}: nothing is cut off and no accessibility rule is broken`, async ({ server, person }) => {
      const app = await person();
      const { page } = app;
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      const shoot = async (name: string) => {
        await page.screenshot({ path: join(shots, `${name}-${scheme}-${size}.png`) });
        const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(sideways, `${name}: the page does not scroll sideways`).toBeLessThanOrEqual(0);
        const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa']).analyze();
        expect(violations.map((one) => `${one.id}: ${one.help} ${one.nodes.map((node) => node.target.join(' ')).slice(0, 3)}`)).toEqual([]);
      };
      const rows = await app.settled(5);
      await shoot('grid');
      await app.openRow(rows[1].key);
      await shoot('form');
      await app.fill('probability', '9');
      await app.id('save').click();
      await expect(app.id('error-probability')).toBeVisible();
      await shoot('form-invalid');
      await app.fill('probability', rows[1].cells.probability);
      await app.id('cancel').click();
      if (await app.id('dialog').isVisible()) await app.answer(true);
      await app.id('filter-responsible').fill('nobody is called this');
      await expect.poll(() => app.total()).toBe(0);
      await shoot('empty');
      await server.kill();
      await expect(app.id('status')).not.toHaveAttribute('data-state', 'live', { timeout: 5000 });
      await shoot('offline');
      await server.restart();
      await app.live();
    });
  }
}

test('by keyboard alone: log in, move, open, edit, save', async ({ server, person }) => {
  const app = await person();
  const { page } = app;
  for (let presses = 0; presses < 60 && !(await app.id('grid').evaluate((element) => element === document.activeElement)); presses++) await page.keyboard.press('Tab');
  await expect(app.id('grid')).toBeFocused();
  await page.keyboard.press('Control+Home');
  const first = (await app.settled(5))[0];
  await expect.poll(async () => (await app.focused())?.key).toBe(first.key);
  for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight']) await page.keyboard.press(key);
  const third = (await app.settled(5))[2];
  expect((await app.focused())?.key).toBe(third.key);
  await page.keyboard.press('Control+End');
  await expect.poll(async () => (await app.visibleRows()).at(-1)?.index).toBe(1999);
  await page.keyboard.press('Control+Home');
  await page.keyboard.press('ArrowDown');
  const second = (await app.settled(5))[1];
  await page.keyboard.press('Enter');
  await expect(app.id('form')).toBeVisible();
  for (let presses = 0; presses < 40 && !(await app.field('responsible').evaluate((element) => element === document.activeElement)); presses++) await page.keyboard.press('Tab');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('Kay Board');
  for (let presses = 0; presses < 40 && !(await app.id('save').evaluate((element) => element === document.activeElement)); presses++) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect.poll(() => server.select(`select responsible from assessment where id = ${second.key}`)).toEqual([{ responsible: 'Kay Board' }]);
});

test('the login page works without scripts and breaks no accessibility rule', async ({ server, browser, page: scripted }) => {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(`${server.url}/login`);
  await page.screenshot({ path: join(shots, 'login-light-wide.png') });
  const { login, password } = server.account('assessor');
  await page.getByLabel(/name|login/i).fill(login);
  await page.getByLabel(/password/i).fill(password);
  await page.getByRole('button').click();
  await expect(page).toHaveURL(`${server.url}/`);
  await context.close();

  await scripted.goto(`${server.url}/login`);
  const { violations } = await new AxeBuilder({ page: scripted }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa']).analyze();
  expect(violations.map((one) => one.id)).toEqual([]);
});
