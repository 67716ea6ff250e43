// When something is wrong the page says so: outdated client, panics on either side, invalid input. Never a blank page.
import { expect, test } from '../support/fixtures.ts';

test.describe('an outdated client', () => {
  test.use({ options: { rows: 2000, env: { SAFETY_DIAGNOSTICS: 'true' } } });

  test('yesterday\'s page against a server with a changed contract says so and offers reload', async ({ server, person }) => {
    const app = await person();
    await server.kill();
    await server.restart({ COATI_TEST_CONTRACTS: 'another-fingerprint' });
    const offer = app.page.getByRole('button', { name: /reload/i });
    await expect(offer).toBeVisible({ timeout: 15_000 });
    await expect(app.page.locator('body')).toContainText(/new version|outdated|updated/i);
  });
});

test.describe('panics', () => {
  test.use({ options: { rows: 2000, env: { SAFETY_DIAGNOSTICS: 'true' } } });

  test('on the server: that call fails with an incident number, everything else goes on', async ({ person }) => {
    const [anna, ben] = [await person('admin'), await person()];
    await anna.diagnostics();
    await anna.id('panic-server').click();
    await expect(anna.page.locator('body')).toContainText(/[0-9a-f]{8,}/i, { timeout: 5000 });
    for (const app of [anna, ben]) await app.live();
    await ben.page.reload();
    await ben.live();
  });

  test('in the browser: the page says that it has stopped and offers reload; others go on', async ({ person }) => {
    const [anna, ben] = [await person('admin'), await person()];
    await anna.diagnostics();
    await anna.id('panic-client').click();
    await expect(anna.page.locator('body')).toContainText(/stopped/i, { timeout: 5000 });
    await anna.page.getByRole('button', { name: /reload/i }).click();
    await anna.live();
    await ben.live();
  });
});

test.describe('invalid input', () => {
  test.use({ options: { rows: 2000 } });

  test('an invalid field is refused with a sentence at the field, on both sides', async ({ server, person }) => {
    const app = await person();
    const row = (await app.settled(5))[0];
    const before = server.select(`select * from assessment where id = ${row.key}`);
    await app.openRow(row.key);
    await app.fill('probability', '9');
    await app.id('save').click();
    await expect(app.id('error-probability')).toBeVisible();
    await expect(app.id('error-probability')).toContainText(/1.*5/);
    await expect(app.field('probability')).toHaveAttribute('aria-invalid', 'true');
    await app.fill('probability', '4');
    await app.fill('title', '');
    await app.id('save').click();
    await expect(app.id('error-title')).toBeVisible();
    await expect(app.id('error-probability')).toBeHidden();
    await app.fill('title', 'A valid title');

    // Only the server knows this rule.
    await app.fill('status', 'closed');
    await app.fill('responsible', '');
    await app.id('save').click();
    await expect(app.id('error-responsible')).toBeVisible();
    await expect(app.id('error-responsible')).toContainText('responsible');
    expect(server.select(`select * from assessment where id = ${row.key}`), 'nothing was written').toEqual(before);

    await app.fill('responsible', 'Vera Valid');
    await app.id('save').click();
    await expect(app.cell(row.key, 'responsible')).toHaveText('Vera Valid');
    expect(server.select(`select title, probability, status from assessment where id = ${row.key}`)).toEqual([{ title: 'A valid title', probability: 4, status: 'closed' }]);
  });

  test('cancel changes nothing', async ({ server, person }) => {
    const app = await person();
    const row = (await app.settled(5))[0];
    const before = server.select(`select * from assessment where id = ${row.key}`);
    await app.openRow(row.key);
    await app.fill('responsible', 'Never Saved');
    await app.id('cancel').click();
    await app.answer(true);
    await expect(app.id('form')).toBeHidden();
    await expect(app.cell(row.key, 'responsible')).toHaveText(row.cells.responsible);
    expect(server.select(`select * from assessment where id = ${row.key}`)).toEqual(before);
  });
});
