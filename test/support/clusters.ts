/** Clusters of three real brokers on loopback: NATS with JetStream, RabbitMQ with its MQTT plugin. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { freePort } from './brokers.js';

const NATS = ['/usr/sbin/nats-server', '/usr/bin/nats-server'].find((path) => existsSync(path));
const RABBITMQ = existsSync('/usr/lib/rabbitmq/bin/rabbitmq-server') ? '/usr/lib/rabbitmq/bin' : undefined;

export interface ClusterNode {
  readonly url: string;
  readonly port: number;
  /** SIGKILL. */
  kill(): Promise<void>;
}

export interface Cluster extends AsyncDisposable {
  readonly nodes: readonly ClusterNode[];
}

export const hasNats = NATS !== undefined;
export const hasRabbitMq = RABBITMQ !== undefined;

/** Ends with the test's process, whatever happens to it. */
function startChild(command: string, args: readonly string[], environment: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
    stdio: 'ignore',
    env: { ...process.env, ...environment },
    detached: true,
  });
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  try {
    // The whole group: RabbitMQ's script has the Erlang machine as a child.
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
  await gone;
}

/** Until the node takes a connection and carries a message through the cluster. */
async function isUp(port: number): Promise<void> {
  for (;;) {
    try {
      const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, {
        protocolVersion: 4,
        reconnectPeriod: 0,
        connectTimeout: 2_000,
      });
      await client.subscribeAsync('up/+', { qos: 1 });
      await client.publishAsync('up/there', 'x', { qos: 1 });
      await client.endAsync(true);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

export async function startNatsCluster(size = 3): Promise<Cluster> {
  if (NATS === undefined) throw new Error('This test needs NATS: apt install nats-server');
  const folder = await mkdtemp(join(tmpdir(), 'scenebus-nats-'));
  const ports = await Promise.all(
    Array.from({ length: size }, async () => ({
      client: await freePort(),
      cluster: await freePort(),
      mqtt: await freePort(),
    })),
  );
  const routes = ports.map(({ cluster }) => `nats://127.0.0.1:${cluster}`).join(', ');
  const children: ChildProcess[] = [];
  for (const [index, { client, cluster, mqtt: mqttPort }] of ports.entries()) {
    const file = join(folder, `${index}.conf`);
    await writeFile(
      file,
      `server_name: n${index}\nlisten: 127.0.0.1:${client}\n` +
        `jetstream { store_dir: "${join(folder, String(index))}" }\n` +
        `cluster { name: test, listen: 127.0.0.1:${cluster}, routes: [${routes}] }\n` +
        `mqtt { listen: 127.0.0.1:${mqttPort} }\n`,
    );
    children.push(startChild(NATS, ['-c', file], {}));
  }
  return clusterOf(
    ports.map(({ mqtt: port }) => port),
    children,
    folder,
  );
}

export async function startRabbitMqCluster(size = 3): Promise<Cluster> {
  if (RABBITMQ === undefined) throw new Error('This test needs RabbitMQ: apt install rabbitmq-server');
  const folder = await mkdtemp(join(tmpdir(), 'scenebus-rabbitmq-'));
  const names = Array.from({ length: size }, (_, index) => `scenebus-test-${process.pid}-${index}@localhost`);
  const children: ChildProcess[] = [];
  const mqttPorts: number[] = [];
  const peers = names.map((name, index) => `cluster_formation.classic_config.nodes.${index + 1} = ${name}\n`).join('');
  await writeFile(join(folder, 'enabled_plugins'), '[rabbitmq_mqtt].\n');
  for (const [index, name] of names.entries()) {
    const home = join(folder, String(index));
    await mkdir(home);
    await writeFile(join(home, '.erlang.cookie'), 'SCENEBUSTEST', { mode: 0o400 });
    const [amqp, distribution, mqttPort] = [await freePort(), await freePort(), await freePort()];
    mqttPorts.push(mqttPort);
    await writeFile(
      join(home, 'rabbitmq.conf'),
      `listeners.tcp.1 = 127.0.0.1:${amqp}\nmqtt.listeners.tcp.1 = 127.0.0.1:${mqttPort}\nmqtt.allow_anonymous = true\n` +
        `cluster_formation.peer_discovery_backend = classic_config\n${peers}` +
        'cluster_formation.randomized_startup_delay_range.min = 0\ncluster_formation.randomized_startup_delay_range.max = 1\n' +
        'cluster_partition_handling = ignore\nvm_memory_high_watermark.relative = 0.6\ndisk_free_limit.absolute = 50MB\n',
    );
    children.push(
      startChild(join(RABBITMQ, 'rabbitmq-server'), [], {
        HOME: home,
        RABBITMQ_NODENAME: name,
        RABBITMQ_DIST_PORT: String(distribution),
        RABBITMQ_CONFIG_FILE: join(home, 'rabbitmq.conf'),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
        RABBITMQ_MNESIA_BASE: join(home, 'mnesia'),
        RABBITMQ_LOG_BASE: join(home, 'log'),
        RABBITMQ_PID_FILE: join(home, 'pid'),
        // Idle schedulers that spin would take the processors from the tests.
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '+sbwt none +sbwtdcpu none +sbwtdio none +S 2:2',
      }),
    );
    // The first forms the cluster: nodes that start in one moment may each form their own.
    if (index === 0) await isUp(mqttPort);
  }
  return clusterOf(mqttPorts, children, folder);
}

async function clusterOf(
  ports: readonly number[],
  children: readonly ChildProcess[],
  folder: string,
): Promise<Cluster> {
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(end));
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    await Promise.all(ports.map(isUp));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    nodes: ports.map((port, index) => ({
      port,
      url: `mqtt://127.0.0.1:${port}`,
      kill: () => end(children[index] as ChildProcess),
    })),
    [Symbol.asyncDispose]: stop,
  };
}
