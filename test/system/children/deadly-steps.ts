/**
 * Steps at which a process kills itself: before and after each transaction of its spool, each file operation of its log,
 * and each call that changes the kernel. They must be taken on before what they watch is imported.
 */
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { DataPlane, FlowTable, NetworkLinks, TunnelDevice } from '../../../src/dataplane/ports.ts';

export class DeadlySteps {
  /** Names of the steps since it was armed, in their order. */
  taken: string[] = [];
  #deadly: string | undefined;
  #left = 0;

  /** Dies at the `count`th time of the step `name`. */
  arm(name: string | undefined, count: number): void {
    this.taken = [];
    this.#deadly = name;
    this.#left = count;
  }

  take(name: string): void {
    this.taken.push(name);
    if (name !== this.#deadly) return;
    this.#left -= 1;
    if (this.#left === 0) process.kill(process.pid, 'SIGKILL');
  }

  /** Of the one database whose path ends so. Its statement is parsed once, and run for each. */
  watchTransactions(end: string): void {
    const { prepare, location } = DatabaseSync.prototype;
    const take = this.take.bind(this);
    DatabaseSync.prototype.prepare = function (this: DatabaseSync, sql: string): StatementSync {
      const statement = prepare.call(this, sql);
      if (sql !== 'COMMIT' || location.call(this)?.endsWith(end) !== true) return statement;
      const run = statement.run.bind(statement);
      return Object.assign(statement, {
        run: () => {
          take('commit before');
          const changes = run();
          take('commit after');
          return changes;
        },
      });
    };
  }

  /** Below a folder. A checkpoint is told from a tile. */
  watchFiles(folder: string): void {
    const { rename, open, rm, mkdir } = promises;
    const around = <A extends unknown[], R>(name: string, action: (...args: A) => Promise<R>) => {
      return async (...args: A): Promise<R> => {
        const path = String(args[0]);
        if (!path.startsWith(folder)) return await action(...args);
        const what = path.includes('checkpoint') ? 'checkpoint' : 'tile';
        this.take(`${what} ${name} before`);
        const result = await action(...args);
        this.take(`${what} ${name} after`);
        return result;
      };
    };
    Object.assign(promises, {
      rename: around('rename', rename),
      open: around('open', open),
      rm: around('rm', rm),
      mkdir: around('mkdir', mkdir),
    });
    syncBuiltinESMExports();
  }

  /** The same data plane, which tells of what changes the kernel. */
  around(dataplane: DataPlane): DataPlane {
    const flows = this.#watched(dataplane.flows, FLOW_CALLS);
    const network = this.#watched(dataplane.network, NETWORK_CALLS);
    const tunnels = replaced(dataplane.tunnels, {
      create: async (spec) => this.#watched(await dataplane.tunnels.create(spec), DEVICE_CALLS),
    });
    return replaced(dataplane, { flows, network, tunnels });
  }

  #watched<T extends object>(target: T, calls: readonly (string | symbol)[]): T {
    const take = this.take.bind(this);
    return new Proxy(target, {
      get(of, name) {
        const value: unknown = Reflect.get(of, name, of);
        if (typeof value !== 'function') return value;
        const call: (...args: unknown[]) => unknown = value.bind(of);
        if (typeof name !== 'string' || !calls.includes(name)) return call;
        return async (...args: unknown[]) => {
          take(`kernel ${name} before`);
          const result = await call(...args);
          take(`kernel ${name} after`);
          return result;
        };
      },
    });
  }
}

const FLOW_CALLS: readonly (keyof FlowTable)[] = ['install', 'activate', 'deactivate', 'remove', 'setPeerLevel'];
const NETWORK_CALLS: readonly (keyof NetworkLinks)[] = ['addRoutes', 'removeRoutes'];
const DEVICE_CALLS: readonly (keyof TunnelDevice)[] = ['addPeer', 'removePeer', 'removePeers'];

function replaced<T extends object>(target: T, instead: Partial<T>): T {
  return new Proxy(target, {
    get(of, name) {
      if (name in instead) return Reflect.get(instead, name);
      const value: unknown = Reflect.get(of, name, of);
      return typeof value === 'function' ? value.bind(of) : value;
    },
  });
}
