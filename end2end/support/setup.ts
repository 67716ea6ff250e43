// Before all tests: a folder for seeded databases, removed after them. Seeding 100,000 rows is done once.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export default function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'coati-seeds-'));
  process.env.COATI_SEEDS = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
