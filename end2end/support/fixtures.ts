// What tests are given: a server of their own and logged-in people, each in a browser process of its own.
import { type Browser, chromium, test as base } from '@playwright/test';
import { launch } from '../playwright.config.ts';
import { App } from './page.ts';
import { ChaosProxy } from './proxy.ts';
import { freePort, type Options, Server } from './server.ts';

export { expect } from '@playwright/test';
export { App, ChaosProxy, freePort, Server };

interface Given {
  /** Settings of the server; set by `test.use({ options: {…} })`. */
  options: Options;
  server: Server;
  /** Another person in another browser, logged in with a role, at the assessments. */
  person: (role?: string, url?: string) => Promise<App>;
}

export const test = base.extend<Given>({
  options: [{}, { option: true }],
  server: async ({ options }, use, info) => {
    const server = await Server.start(options);
    await use(server);
    if (info.status !== info.expectedStatus) await info.attach('server log', { body: server.text.slice(-20_000), contentType: 'text/plain' });
    await server.stop();
  },
  person: async ({ server }, use, info) => {
    const browsers: Browser[] = [];
    const problems: string[] = [];
    await use(async (role = 'assessor', url = server.url) => {
      const browser = await chromium.launch(launch);
      browsers.push(browser);
      const page = await (await browser.newContext({ viewport: { width: 1280, height: 1000 } })).newPage();
      page.on('pageerror', (error) => problems.push(String(error)));
      page.on('console', (message) => { if (message.type() === 'error') problems.push(message.text()); });
      const app = new App(page);
      await app.login(url, server.account(role));
      await app.openAssessments();
      return app;
    });
    if (info.status !== info.expectedStatus) {
      for (const [index, browser] of browsers.entries()) {
        const page = browser.contexts()[0]?.pages()[0];
        if (page) await info.attach(`browser ${index}`, { body: await page.screenshot(), contentType: 'image/png' });
      }
      if (problems.length > 0) await info.attach('browser errors', { body: problems.join('\n'), contentType: 'text/plain' });
    }
    await Promise.all(browsers.map((browser) => browser.close()));
  },
});
