// Debian's Chromium, one worker: the tests measure seconds, and two cores serve the browsers and the server.
import { defineConfig } from '@playwright/test';

export const launch = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-dev-shm-usage',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
};

export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results',
  workers: 1,
  fullyParallel: false,
  retries: 0,
  timeout: 90_000,
  expect: { timeout: 10_000 },
  forbidOnly: true,
  reporter: [['list']],
  globalSetup: './support/setup.ts',
  use: { launchOptions: launch, viewport: { width: 1280, height: 800 }, actionTimeout: 10_000, screenshot: 'only-on-failure' },
});
