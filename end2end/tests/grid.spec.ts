// Two people among 100,000 rows: what stands in the grid is what an independent program reads from the file.
import { assessments, comparable, count } from '../support/assessments.ts';
import { type App, expect, type Server, test } from '../support/fixtures.ts';

test.use({ options: { rows: 100_000 } });
test.setTimeout(180_000);

/** At least 20 rows in view, each equal to the select's row at that place; never more than 200 elements. */
async function equalsSelect(app: App, server: Server, query: { order?: string; where?: string } = {}): Promise<number> {
  const rows = await app.settled(20);
  const expected = assessments(server, { ...query, offset: rows[0].index, limit: rows.length });
  expect(rows.map(comparable)).toEqual(expected);
  expect(await app.rowElements()).toBeLessThanOrEqual(200);
  return rows[0].index;
}

test('100,000 rows: the end, the middle and 20 jumps show what the database holds', async ({ server, person }) => {
  const [anna, ben] = [await person(), await person('admin')];
  for (const app of [anna, ben]) {
    expect(await app.total()).toBe(100_000);
    expect(await equalsSelect(app, server)).toBe(0);
    await app.scrollTo(1);
    await equalsSelect(app, server);
    expect((await app.settled()).at(-1)!.index, 'the last row is in view').toBe(99_999);
    await app.scrollTo(0.5);
    const middle = await equalsSelect(app, server);
    expect(Math.abs(middle - 50_000)).toBeLessThan(100);
  }
  const places = new Set<number>();
  for (let jump = 0; jump < 20; jump++) {
    // Back and forth, at places that repeat in each run.
    const part = jump % 2 === 0 ? 0.93 - jump * 0.037 : 0.05 + jump * 0.019;
    await anna.scrollTo(part);
    places.add(await equalsSelect(anna, server));
  }
  expect(places.size, 'each jump led somewhere else').toBe(20);
});

test('sorting by a column orders all rows, not those in view', async ({ server, person }) => {
  const app = await person();
  await app.id('sort-severity').click();
  await expect(async () => { await equalsSelect(app, server, { order: 'severity' }); }).toPass({ timeout: 8000 });
  await app.id('sort-severity').click();
  await expect(async () => { await equalsSelect(app, server, { order: 'severity desc' }); }).toPass({ timeout: 8000 });
  await app.scrollTo(0.5);
  await equalsSelect(app, server, { order: 'severity desc' });
  await app.id('sort-site').click();
  await expect(async () => { await equalsSelect(app, server, { order: 's.name' }); }).toPass({ timeout: 8000 });
});

test('filters by text and by value show the rows that meet both, and count them', async ({ server, person }) => {
  const app = await person();
  const before = await app.total();
  const text = (await app.settled()).map((row) => row.cells.responsible).find((name) => name !== '')!.split(' ').at(-1)!;
  await app.id('filter-responsible').fill(text);
  const byText = `responsible like '%${text}%'`;
  await expect.poll(() => app.total(), { timeout: 8000 }).toBe(count(server, byText));
  expect(await app.total()).toBeLessThan(before);
  await equalsSelect(app, server, { where: byText });

  await app.id('filter-status').selectOption('open');
  const both = `${byText} and status = 'open'`;
  await expect.poll(() => app.total(), { timeout: 8000 }).toBe(count(server, both));
  await equalsSelect(app, server, { where: both });

  await app.id('filter-responsible').fill('nobody is called this');
  await expect.poll(() => app.total(), { timeout: 8000 }).toBe(0);
  await app.id('filter-responsible').fill('');
  await app.id('filter-status').selectOption('');
  await expect.poll(() => app.total(), { timeout: 8000 }).toBe(before);
});
