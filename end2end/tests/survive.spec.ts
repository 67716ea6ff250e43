// A killed server, a broken link and a half-open one cost the user nothing but a moment.
import { type App, ChaosProxy, expect, freePort, test } from '../support/fixtures.ts';

/** What a user would miss: sort, filter, top row and focused cell. */
async function place(app: App) {
  const rows = await app.settled();
  return {
    top: rows[0].key,
    index: rows[0].index,
    focused: await app.focused(),
    filter: await app.id('filter-responsible').inputValue(),
    sorted: await app.page.locator('[aria-sort=ascending], [aria-sort=descending]').evaluateAll((all) => all.map((one) => [one.textContent?.trim(), one.getAttribute('aria-sort')])),
    total: await app.total(),
    loaded: await app.loadedAt(),
  };
}

/** Brings the grid into a state of its own: sorted, filtered, scrolled, a cell focused. */
async function arrange(app: App, sort: string, part: number) {
  await app.id(`sort-${sort}`).click();
  await app.id('filter-responsible').fill('a');
  await expect.poll(() => app.total(), { timeout: 8000 }).toBeLessThan(20_000);
  await app.scrollTo(part);
  const rows = await app.settled(10);
  await app.cell(rows[5].key, 'responsible').click();
  await app.page.keyboard.press('ArrowDown');
  return place(app);
}

test.describe('kill -9', () => {
  test.use({ options: { rows: 20_000 } });

  test('both browsers come back without a page load to the same rows, and a row changed meanwhile is right', async ({ server, person }) => {
    const [anna, ben] = [await person(), await person('admin')];
    const before = [await arrange(anna, 'severity', 0.4), await arrange(ben, 'site', 0.7)];
    expect(before[0].focused?.key).toBeTruthy();
    const changed = (await anna.settled())[2];

    await server.kill();
    for (const app of [anna, ben]) await expect(app.id('status')).not.toHaveAttribute('data-state', 'live', { timeout: 5000 });
    server.execute(`update assessment set notes = 'changed while away', responsible = 'Anna Away' where id = ${changed.key}`);
    await server.restart();
    const up = Date.now();
    for (const app of [anna, ben]) await app.live(5000);
    await expect(anna.cell(changed.key, 'responsible')).toHaveText('Anna Away', { timeout: 5000 });
    expect(Date.now() - up, 'right within 5 s of the start').toBeLessThan(5000);
    console.log(`after kill -9: both live and right ${Date.now() - up} ms after the server was ready`);
    expect([await place(anna), await place(ben)]).toEqual(before);
  });

  test('an orderly end says goodbye, and takes less than 5 seconds', async ({ server, person }) => {
    const app = await person();
    expect(await server.terminate()).toBe(true);
    await expect(app.id('status')).not.toHaveAttribute('data-state', 'live', { timeout: 5000 });
    await server.restart();
    await app.live(5000);
  });
});

// The proxy's port must be known before the server starts: it is one of the names that the server answers to.
const port = await freePort();

test.describe('through a proxy', () => {
  test.use({ options: { rows: 2000, hosts: [`127.0.0.1:${port}`] } });
  test.setTimeout(120_000);

  test('a half-open link is noticed; the browser is live again at once and the old session is gone', async ({ server, person }) => {
    const proxy = await ChaosProxy.open(port, server.port);
    const app = await person('assessor', `http://127.0.0.1:${port}`);
    const [loaded, sessions] = [await app.loadedAt(), await server.metric('coati_sessions')];
    const row = (await app.settled())[1];

    await app.recordStates();
    const stalled = Date.now();
    expect(proxy.stall()).toBeGreaterThan(0);
    await expect.poll(() => app.states().then((all) => all.map((one) => one.state).join(' ')), { timeout: 60_000 }).toMatch(/^live .*live$/);
    const states = await app.states();
    const [noticed, live] = [states[1].at, states.at(-1)!.at];
    console.log(`half-open: noticed after ${noticed - stalled} ms, live ${live - noticed} ms later`);
    expect(live - noticed).toBeLessThan(1000);

    server.execute(`update assessment set responsible = 'After Stall' where id = ${row.key}`);
    await expect(app.cell(row.key, 'responsible')).toHaveText('After Stall', { timeout: 2000 });
    await expect.poll(() => server.metric('coati_sessions'), { timeout: 2000 }).toBe(sessions);
    expect(await app.loadedAt()).toBe(loaded);
    await proxy.close();
  });

  test('twenty cut links in a row leave one session and the same page', async ({ server, person }) => {
    const proxy = await ChaosProxy.open(port, server.port);
    const app = await person('assessor', `http://127.0.0.1:${port}`);
    const [loaded, sessions] = [await app.loadedAt(), await server.metric('coati_sessions')];
    for (let cut = 0; cut < 20; cut++) {
      proxy.cut();
      await expect(app.id('status')).not.toHaveAttribute('data-state', 'live', { timeout: 5000 }).catch(() => undefined);
      await app.live(10_000);
    }
    const row = (await app.settled())[0];
    server.execute(`update assessment set responsible = 'After Cuts' where id = ${row.key}`);
    await expect(app.cell(row.key, 'responsible')).toHaveText('After Cuts', { timeout: 2000 });
    await expect.poll(() => server.metric('coati_sessions'), { timeout: 5000 }).toBe(sessions);
    expect(await app.loadedAt()).toBe(loaded);
    await proxy.close();
  });
});
