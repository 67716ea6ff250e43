// Several tabs of one user: each has a session of its own, also when one was copied from the other.
import { expect, test } from '../support/fixtures.ts';

test('a duplicated tab works beside the one it was copied from, and a reload keeps the session', async ({ person }) => {
  const app = await person();
  const base = () => app.page.locator('.app').getAttribute('data-base');
  const first = await base();
  expect(first).toMatch(/^session\.[0-9a-f]{32}$/);

  await app.page.reload();
  await app.live(8000);
  expect(await base(), 'a reload comes back to its session').toBe(first);

  // A window that a page opens starts with a copy of the page's session storage, as a duplicated tab does.
  const [copy] = await Promise.all([app.page.context().waitForEvent('page'), app.page.evaluate(() => void window.open(location.href))]);
  await expect(copy.getByTestId('status')).toHaveAttribute('data-state', 'live', { timeout: 10_000 });
  await expect(copy.getByTestId('grid-row').first()).toBeVisible();
  expect(await copy.locator('.app').getAttribute('data-base')).not.toBe(first);
  await expect(app.id('status'), 'the first tab noticed nothing').toHaveAttribute('data-state', 'live');
  expect(await base()).toBe(first);
});
