// The application as a person sees it: the only file that knows the page's test ids.
import { expect, type Locator, type Page } from '@playwright/test';
import type { Account } from './server.ts';

export interface SeenRow { key: string; index: number; cells: Record<string, string> }

export class App {
  constructor(readonly page: Page) {}

  id(name: string): Locator { return this.page.getByTestId(name); }

  /** Logs in by the plain form and waits until the page is live. */
  async login(url: string, account: Account): Promise<void> {
    await this.page.goto(`${url}/login`);
    await this.page.locator('input[name=login]').fill(account.login);
    await this.page.locator('input[name=password]').fill(account.password);
    await this.page.locator('input[name=password]').press('Enter');
    await this.live();
  }

  /** Waits until the connection's state is the given one. */
  async state(state: 'live' | 'connecting' | 'offline', timeout = 15_000): Promise<void> {
    await expect(this.id('status')).toHaveAttribute('data-state', state, { timeout });
  }

  live(timeout?: number): Promise<void> { return this.state('live', timeout); }

  /** Opens the assessments and waits for rows. */
  async openAssessments(): Promise<void> {
    const tab = this.id('tab-assessments');
    if (await tab.count() > 0) await tab.first().click();
    await expect(this.id('grid-row').first()).toBeVisible({ timeout: 15_000 });
  }

  /** All row elements in the DOM that have arrived, in order. Rows still on their way have no key. */
  rows(): Promise<SeenRow[]> {
    return this.page.evaluate(() => {
      const seen = [...document.querySelectorAll<HTMLElement>('[data-testid=grid-row]')].filter((row) => row.dataset.key).map((row) => ({
        key: row.dataset.key!,
        index: Number(row.dataset.index),
        cells: Object.fromEntries([...row.querySelectorAll<HTMLElement>('[data-testid=grid-cell]')].map((cell) => [cell.dataset.field!, cell.innerText.trim()])),
      }));
      return seen.sort((a, b) => a.index - b.index);
    });
  }

  /** Those rows that a person sees: inside the grid's box, under its header. */
  visibleRows(): Promise<SeenRow[]> {
    return this.page.evaluate(() => {
      const grid = document.querySelector<HTMLElement>('[data-testid=grid]')!.getBoundingClientRect();
      const seen = [...document.querySelectorAll<HTMLElement>('[data-testid=grid-row]')].filter((row) => {
        const box = row.getBoundingClientRect();
        return row.dataset.key && box.bottom > grid.top && box.top < grid.bottom;
      });
      return seen.map((row) => ({
        key: row.dataset.key!,
        index: Number(row.dataset.index),
        cells: Object.fromEntries([...row.querySelectorAll<HTMLElement>('[data-testid=grid-cell]')].map((cell) => [cell.dataset.field!, cell.innerText.trim()])),
      })).sort((a, b) => a.index - b.index);
    });
  }

  rowElements(): Promise<number> { return this.id('grid-row').count(); }

  /** The number of rows that the grid says it has, from its ARIA attribute (which counts the header rows too). */
  async total(): Promise<number> {
    return this.page.evaluate(() => {
      const grid = document.querySelector('[data-testid=grid][aria-rowcount], [data-testid=grid] [aria-rowcount]')!;
      const headers = new Set([...grid.querySelectorAll('[role=row]')].filter((row) => !(row as HTMLElement).dataset.index && row.hasAttribute('aria-rowindex')));
      return Number(grid.getAttribute('aria-rowcount')) - Math.max(1, headers.size);
    });
  }

  /** Scrolls as far as the given part (0 to 1) of the way. */
  async scrollTo(part: number): Promise<void> {
    await this.page.evaluate((part) => {
      const grid = document.querySelector<HTMLElement>('[data-testid=grid]')!;
      const all = [grid, ...grid.querySelectorAll<HTMLElement>('*')];
      const box = all.find((element) => element.scrollHeight > element.clientHeight + 50 && /auto|scroll/.test(getComputedStyle(element).overflowY))!;
      box.scrollTop = part * (box.scrollHeight - box.clientHeight);
    }, part);
  }

  /** Waits until every row in view has arrived and nothing has moved for a moment; returns the rows in view. */
  async settled(atLeast = 1): Promise<SeenRow[]> {
    let before = '';
    let rows: SeenRow[] = [];
    await expect(async () => {
      rows = await this.visibleRows();
      const now = JSON.stringify(rows);
      const same = now === before;
      before = now;
      expect(rows.length).toBeGreaterThanOrEqual(atLeast);
      const gaps = rows.filter((row, index) => index > 0 && row.index !== rows[index - 1].index + 1);
      expect(gaps, 'rows in view follow one another').toEqual([]);
      expect(same, 'the grid has come to rest').toBe(true);
    }).toPass({ timeout: 10_000, intervals: [100] });
    return rows;
  }

  cell(key: string, field: string): Locator {
    return this.page.locator(`[data-testid=grid-row][data-key="${key}"] [data-testid=grid-cell][data-field="${field}"]`);
  }

  /** The cell that has the focus: its row's key and its field. */
  focused(): Promise<{ key?: string; field?: string } | undefined> {
    return this.page.evaluate(() => {
      const inside = document.querySelector('[data-testid=grid]');
      const marked = inside?.querySelector<HTMLElement>('[data-testid=grid-cell][data-focused=true], [data-testid=grid-cell]:focus, [data-testid=grid-cell][tabindex="0"]');
      if (!marked) return undefined;
      return { key: marked.closest<HTMLElement>('[data-testid=grid-row]')?.dataset.key, field: marked.dataset.field };
    });
  }

  /** Opens a row's form by a double click. */
  async openRow(key: string): Promise<void> {
    await this.cell(key, 'hazard').or(this.page.locator(`[data-testid=grid-row][data-key="${key}"] [data-testid=grid-cell]`)).first().dblclick();
    await expect(this.id('form')).toBeVisible();
  }

  /** The control of a form's field. */
  field(name: string): Locator {
    const place = this.id(`field-${name}`);
    return place.and(this.page.locator('input, select, textarea')).or(place.locator('input, select, textarea')).first();
  }

  async fill(name: string, value: string): Promise<void> {
    const control = this.field(name);
    if (await control.evaluate((element) => element.tagName === 'SELECT')) await control.selectOption(value);
    else await control.fill(value);
  }

  /** When this page was loaded; another value means that it was loaded again. */
  loadedAt(): Promise<number> { return this.page.evaluate(() => performance.timeOrigin); }
}
