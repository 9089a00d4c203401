// A Chromium without a window, driven over two pipes: no port that anyone could reach. CHROMIUM names another browser.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

const found = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Path of the browser; ends the process where there is none. */
export function requireBrowser(what) {
  const browser = found.find((path) => path !== undefined && existsSync(path));
  if (browser !== undefined) return browser;
  console.error(`${what}: no Chromium; apt-get install chromium, or name one in CHROMIUM`);
  return process.exit(1);
}

export class Chromium {
  constructor(browser, profile) {
    const options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-extensions'];
    const quiet = [
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--hide-scrollbars',
    ];
    this.child = spawn(browser, [...options, ...quiet, '--remote-debugging-pipe', `--user-data-dir=${profile}`], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
    });
    this.said = '';
    this.child.stderr.setEncoding('utf8').on('data', (text) => {
      this.said = (this.said + text).slice(-4000);
    });
    this.waiting = new Map();
    this.listeners = [];
    this.next = 1;
    let rest = '';
    this.child.stdio[4].setEncoding('utf8').on('data', (text) => {
      rest += text;
      for (let end = rest.indexOf('\0'); end >= 0; end = rest.indexOf('\0')) {
        this.take(JSON.parse(rest.slice(0, end)));
        rest = rest.slice(end + 1);
      }
    });
    this.child.stdio[3].on('error', () => undefined);
    this.closed = new Promise((done) => {
      this.child.once('exit', (code, signal) => {
        for (const { reject } of this.waiting.values())
          reject(new Error(`Chromium ended (${signal ?? code})\n${this.said}`));
        done();
      });
    });
  }

  take(message) {
    const asked = this.waiting.get(message.id);
    if (asked === undefined) {
      for (const listener of this.listeners) listener(message);
      return;
    }
    this.waiting.delete(message.id);
    if (message.error) asked.reject(new Error(`${asked.method}: ${message.error.message}`));
    else asked.resolve(message.result);
  }

  send(method, params = {}, sessionId = this.session) {
    const id = this.next++;
    this.child.stdio[3].write(`${JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) })}\0`);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject, method }));
  }

  async open() {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    this.session = sessionId;
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await this.send(`${domain}.enable`);
  }

  /** Value of an expression in the page. */
  async ask(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
      // The protocol may evaluate text where the page may not; what the page itself may is asked here.
      allowUnsafeEvalBlockedByCSP: false,
    });
    if (exceptionDetails)
      throw new Error(`${exceptionDetails.exception?.description ?? exceptionDetails.text}\n${expression}`);
    return result.value;
  }

  async goTo(url) {
    const loaded = new Promise((done) => {
      const listener = ({ method }) => {
        if (method !== 'Page.loadEventFired') return;
        this.listeners.splice(this.listeners.indexOf(listener), 1);
        done();
      };
      this.listeners.push(listener);
    });
    await this.send('Page.navigate', { url });
    await loaded;
  }

  size(width, height, mobile = false, deviceScaleFactor = mobile ? 2 : 1) {
    return this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor, mobile });
  }

  scheme(value) {
    return this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
  }

  async close() {
    await Promise.race([this.send('Browser.close', {}, null).catch(() => undefined), this.closed]);
    const late = setTimeout(() => this.child.kill('SIGKILL'), 5000);
    await this.closed;
    clearTimeout(late);
  }
}
