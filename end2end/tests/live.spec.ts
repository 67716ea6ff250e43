// What one person or another program changes, everybody sees, without a reload.
import { type App, expect, test } from '../support/fixtures.ts';

/** Edits a row's responsible person in the form and saves. */
async function edit(app: App, key: string, field: string, value: string): Promise<void> {
  await app.openRow(key);
  await app.fill(field, value);
  await app.id('save').click();
}

/** How long it takes until the cell has the text, in milliseconds. */
async function seenAfter(app: App, key: string, field: string, value: string, within: number): Promise<number> {
  const start = Date.now();
  await expect(app.cell(key, field)).toHaveText(value, { timeout: within });
  return Date.now() - start;
}

async function both(person: (role?: string) => Promise<App>): Promise<[App, App, number[]]> {
  const [anna, ben] = [await person(), await person('admin')];
  return [anna, ben, [await anna.loadedAt(), await ben.loadedAt()]];
}

test.describe('with hints', () => {
  test.use({ options: { rows: 5000 } });

  test('an edit of one appears to the other in under a second, and is in the file', async ({ server, person }) => {
    const [anna, ben, loaded] = await both(person);
    const row = (await anna.settled(5))[2];
    await edit(anna, row.key, 'responsible', 'Ada Edited');
    const took = await seenAfter(ben, row.key, 'responsible', 'Ada Edited', 1000);
    console.log(`an edit reached the other browser in ${took} ms`);
    await expect(anna.cell(row.key, 'responsible')).toHaveText('Ada Edited');
    expect(server.select(`select responsible from assessment where id = ${row.key}`)).toEqual([{ responsible: 'Ada Edited' }]);
    expect([await anna.loadedAt(), await ben.loadedAt()]).toEqual(loaded);
  });

  test('a new record and a deleted one appear and go for both', async ({ server, person }) => {
    const [anna, ben] = await both(person);
    const total = await ben.total();
    await anna.id('new').click();
    await expect(anna.id('form')).toBeVisible();
    await anna.fillNew('A new risk');
    await anna.id('save').click();
    await expect.poll(() => ben.total(), { timeout: 2000 }).toBe(total + 1);
    const [{ id }] = server.select("select max(id) as id from assessment where title = 'A new risk' and responsible = 'Nora New'");
    expect(id).not.toBeNull();

    await anna.scrollTo(0);
    await ben.scrollTo(0);
    const row = (await ben.settled(5))[1];
    await ben.openRow(row.key);
    await ben.id('delete').click();
    await ben.answer(true);
    await expect.poll(() => anna.total(), { timeout: 2000 }).toBe(total);
    await expect(anna.page.locator(`[data-testid=grid-row][data-key="${row.key}"]`)).toHaveCount(0);
    expect(server.select(`select id from assessment where id = ${row.key}`)).toEqual([]);
  });
});

for (const hints of ['on', 'off'] as const) {
  test.describe(`hints ${hints}`, () => {
    test.use({ options: { rows: 5000, hints } });

    test(`another process inserts, updates, deletes and moves a row out of the filter (hints ${hints})`, async ({ server, person }) => {
      const [anna, ben, loaded] = await both(person);
      const within = 2000;
      const [first, second, third] = await ben.settled(5);

      server.foreignWriter('update', first.key, 'responsible', 'Fritz Foreign');
      for (const app of [anna, ben]) await seenAfter(app, first.key, 'responsible', 'Fritz Foreign', within);

      const total = await ben.total();
      server.foreignWriter('insert');
      for (const app of [anna, ben]) await expect.poll(() => app.total(), { timeout: within }).toBe(total + 1);

      server.foreignWriter('delete', second.key);
      for (const app of [anna, ben]) {
        await expect(app.page.locator(`[data-testid=grid-row][data-key="${second.key}"]`)).toHaveCount(0, { timeout: within });
      }

      await ben.id('filter-responsible').fill('Fritz');
      await expect.poll(() => ben.total(), { timeout: 8000 }).toBe(1);
      server.foreignWriter('update', first.key, 'responsible', 'Somebody Else');
      await expect.poll(() => ben.total(), { timeout: within }).toBe(0);
      server.foreignWriter('update', third.key, 'responsible', 'Fritz Again');
      await expect.poll(() => ben.total(), { timeout: within }).toBe(1);
      expect([await anna.loadedAt(), await ben.loadedAt()]).toEqual(loaded);
    });
  });
}

test.describe('without hints', () => {
  test.use({ options: { rows: 5000, hints: 'off' } });

  test('an edit of one appears to the other within 2 seconds: the feed brings it', async ({ person }) => {
    const [anna, ben] = await both(person);
    const row = (await anna.settled(5))[2];
    await edit(anna, row.key, 'responsible', 'Ada Polled');
    console.log(`without hints: ${await seenAfter(ben, row.key, 'responsible', 'Ada Polled', 2000)} ms`);
  });
});
