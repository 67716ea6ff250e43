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

  /** Writes down each state of the connection from now on: a reconnect may be quicker than a look at the page. */
  async recordStates(): Promise<void> {
    await this.page.evaluate(() => {
      const states: { state: string; at: number }[] = [];
      const write = () => {
        const state = document.querySelector<HTMLElement>('[data-testid=status]')?.dataset.state ?? 'none';
        if (states.at(-1)?.state !== state) states.push({ state, at: Date.now() });
      };
      write();
      new MutationObserver(write).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-state'] });
      Object.assign(window, { recordedStates: states });
    });
  }

  states(): Promise<{ state: string; at: number }[]> {
    return this.page.evaluate(() => (window as unknown as { recordedStates: { state: string; at: number }[] }).recordedStates);
  }

  live(timeout?: number): Promise<void> { return this.state('live', timeout); }

  /** Opens the assessments and waits for rows. */
  async openAssessments(): Promise<void> {
    const tab = this.id('tab-assessments');
    if (await tab.count() > 0) await tab.first().click();
    await expect(this.id('grid-row').first()).toBeVisible({ timeout: 15_000 });
  }

  /** Opens the hidden page with the buttons that panic. */
  async diagnostics(): Promise<void> {
    await this.page.evaluate(() => { location.hash = 'diagnostics'; });
    await this.page.reload();
    await this.live();
    await this.id('tab-diagnostics').click();
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

  /** The number of rows that the grid says it has, from its ARIA attribute (which counts the heading too). */
  async total(): Promise<number> {
    return Number(await this.id('grid').getAttribute('aria-rowcount')) - 1;
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
      const marked = document.querySelector<HTMLElement>('[data-testid=grid-cell][data-focused=true]');
      if (!marked) return undefined;
      return { key: marked.closest<HTMLElement>('[data-testid=grid-row]')?.dataset.key, field: marked.dataset.field };
    });
  }

  /** Opens a row's form by a double click. */
  async openRow(key: string): Promise<void> {
    await this.cell(key, 'title').dblclick();
    await expect(this.id('form')).toBeVisible();
  }

  /** The control of a form's field. */
  field(name: string): Locator { return this.id(`field-${name}`); }

  async fill(name: string, value: string): Promise<void> {
    const control = this.field(name);
    if (await control.evaluate((element) => element.tagName === 'SELECT')) await control.selectOption(value);
    else await control.fill(value);
  }

  /** Fills a new record with the least that is valid. */
  async fillNew(title: string): Promise<void> {
    await this.fill('title', title);
    for (const lookup of ['site_id', 'department_id', 'hazard_id']) {
      await expect.poll(() => this.field(lookup).locator('option').count(), { timeout: 5000 }).toBeGreaterThan(1);
      await this.field(lookup).selectOption({ index: 1 });
    }
    await this.fill('probability', '3');
    await this.fill('severity', '4');
    await this.fill('status', 'open');
    await this.fill('responsible', 'Nora New');
    await this.fill('due', '2027-01-31');
  }

  /** Answers the question of a dialog, if there is one. */
  async answer(yes: boolean): Promise<void> {
    await this.id(yes ? 'dialog-yes' : 'dialog-no').click();
  }

  /** When this page was loaded; another value means that it was loaded again. */
  loadedAt(): Promise<number> { return this.page.evaluate(() => performance.timeOrigin); }
}
