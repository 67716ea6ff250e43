// What the grid must show, read from the file by a program that is not ours.
import type { SeenRow } from './page.ts';
import type { Server } from './server.ts';

export interface Query { order?: string; where?: string; offset?: number; limit?: number }

const STATUS: Record<string, string> = { draft: 'Draft', open: 'Open', mitigated: 'Mitigated', closed: 'Closed' };
const FROM = `from assessment a join site s on s.id = a.site_id join department d on d.id = a.department_id join hazard h on h.id = a.hazard_id`;

/** How many rows meet the condition. */
export function count(server: Server, where = 'true'): number {
  return Number(server.select(`select count(*) as count ${FROM} where ${where}`)[0].count);
}

/** The rows that `query` selects, in the grid's order (the key ends it, in the same direction), with the texts that the grid shows. */
export function assessments(server: Server, { order, where = 'true', offset = 0, limit = 50 }: Query): Record<string, string>[] {
  const rows = server.select(`
    select a.id, a.title, s.name as site, d.name as department, h.name as hazard, a.probability, a.severity, a.risk, a.status,
      a.responsible, a.due, a.notes ${FROM} where ${where} order by ${order ? `${order}, ` : ''}a.id ${order?.endsWith(' desc') ? 'desc' : ''} limit ${limit} offset ${offset}`);
  return rows.map((row) => {
    const texts = Object.entries(row).map(([name, value]) => [name, tidy(String(name === 'status' ? STATUS[String(value)] : value ?? ''))]);
    return Object.fromEntries(texts);
  });
}

/** A row of the grid, to be compared with the select's. */
export function comparable(row: SeenRow): Record<string, string> {
  return Object.fromEntries(Object.entries({ ...row.cells, id: row.key }).map(([name, text]) => [name, tidy(text)]));
}

/** A browser shows a run of white space as one blank. */
function tidy(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
