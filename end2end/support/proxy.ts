// A TCP proxy that can stall (the link is half-open: nothing passes, nothing is closed) and cut.
import { type AddressInfo, createServer, connect, type Server as NetServer, type Socket } from 'node:net';

export class ChaosProxy {
  private readonly pairs = new Set<{ near: Socket; far: Socket; stalled: boolean }>();
  private listener!: NetServer;

  static async open(port: number, target: number): Promise<ChaosProxy> {
    const proxy = new ChaosProxy();
    proxy.listener = createServer((near) => {
      const far = connect(target, '127.0.0.1');
      const pair = { near, far, stalled: false };
      proxy.pairs.add(pair);
      const end = () => { near.destroy(); far.destroy(); proxy.pairs.delete(pair); };
      for (const [from, to] of [[near, far], [far, near]] as const) {
        from.setNoDelay(true);
        from.on('data', (data) => { if (!pair.stalled) to.write(data); });
        // A stalled link tells neither side of the other's end.
        from.on('end', () => { if (!pair.stalled) to.end(); });
        from.on('close', () => { if (!pair.stalled) end(); });
        from.on('error', () => { if (!pair.stalled) end(); });
      }
    });
    await new Promise<void>((done) => proxy.listener.listen(port, '127.0.0.1', done));
    return proxy;
  }

  get port(): number { return (this.listener.address() as AddressInfo).port; }

  /** Links that are open now go silent for good, both ways; new ones work. */
  stall(): number {
    for (const pair of this.pairs) pair.stalled = true;
    return this.pairs.size;
  }

  /** Links that are open now break. */
  cut(): void {
    for (const pair of this.pairs) { pair.near.resetAndDestroy(); pair.far.resetAndDestroy(); }
    this.pairs.clear();
  }

  async close(): Promise<void> {
    for (const pair of this.pairs) { pair.near.destroy(); pair.far.destroy(); }
    await new Promise((done) => this.listener.close(done));
  }
}
