/** Numbers for Prometheus, and a health check for whoever restarts services. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type Logger, SdkError } from 'scenebus';
import type { EventBodies } from '../events/events.js';
import type { EventHub } from '../events/hub.js';

export interface MetricsSinkOptions {
  readonly hub: EventHub;
  readonly logger: Logger;
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
}

/** Seconds: from a demo model on a fast processor to an 11B on a slow one. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

const METRIC_PREFIX = 'scenebus_';
const HOUR_MS = 3_600_000;
const DELAY_STATISTICS = ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'] as const;

/** What a description or an answer spent its time on, by the names of `Timings`. */
const STAGES = {
  queueMs: 'queue',
  imageMs: 'image',
  prefillMs: 'prefill',
  decodeMs: 'decode',
  totalMs: 'total',
} as const;

/** Answers GET /metrics and GET /healthz, on loopback unless told otherwise. */
export class MetricsSink implements AsyncDisposable {
  readonly #registry = new Registry();
  readonly #server: Server;
  readonly #stops: (() => void)[];
  readonly #gauges = new Map<string, Gauge>();
  #health: EventBodies['health'] | undefined;

  private constructor(hub: EventHub) {
    const registers = [this.#registry];
    collectProcessMetrics(this.#registry);
    const seconds = new Histogram({
      name: 'scenebus_model_seconds',
      help: 'Time of descriptions and answers, by stage; total includes the queue',
      labelNames: ['kind', 'camera', 'stage'],
      buckets: BUCKETS,
      registers,
    });
    const events = new Counter({
      name: 'scenebus_events_total',
      help: 'What happened, by kind',
      labelNames: ['kind', 'camera'],
      registers,
    });
    const failures = new Counter({
      name: 'scenebus_failed_answers_total',
      help: 'Requests that were accepted and failed, by error code',
      labelNames: ['code'],
      registers,
    });
    const isRunning = new Gauge({
      name: 'scenebus_camera_running',
      help: '1: frames arrive',
      labelNames: ['camera'],
      registers,
    });
    const frameAge = new Gauge({
      name: 'scenebus_camera_frame_age_seconds',
      help: 'Age of the newest frame when the camera last reported its state',
      labelNames: ['camera'],
      registers,
    });
    const observe = (kind: string, camera: string, timings: object | undefined): void => {
      events.inc({ kind, camera });
      for (const [name, stage] of Object.entries(STAGES)) {
        const ms = (timings as Readonly<Record<string, unknown>> | undefined)?.[name];
        if (typeof ms === 'number') seconds.observe({ kind, camera, stage }, ms / 1000);
      }
    };
    this.#stops = [
      hub.on('scene', ({ camera = '', body }) => observe('scene', camera, body.answer.timings)),
      hub.on('answer', ({ camera = '', body }) => {
        if (body.error !== null) failures.inc({ code: body.error.code });
        else observe('answer', camera, body.answer?.timings);
      }),
      hub.on('watch', ({ camera = '' }) => observe('watch', camera, undefined)),
      hub.on('problem', () => observe('problem', '', undefined)),
      hub.on('status', ({ camera = '', body }) => {
        isRunning.set({ camera }, body.state === 'running' ? 1 : 0);
        if (body.lastFrameAgeMs !== null) frameAge.set({ camera }, body.lastFrameAgeMs / 1000);
      }),
      hub.on('health', ({ body }) => this.#setHealth(body)),
    ];
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  /** @throws SdkError ERR_CONFIG_INVALID when the address cannot be had */
  static async start({ hub, logger, host, port }: MetricsSinkOptions): Promise<MetricsSink> {
    const sink = new MetricsSink(hub);
    try {
      await new Promise<void>((resolve, reject) => {
        sink.#server.once('error', reject);
        sink.#server.listen(port, host, resolve);
      });
    } catch (error) {
      await sink[Symbol.asyncDispose]();
      const why = error instanceof Error ? error.message : String(error);
      throw new SdkError('ERR_CONFIG_INVALID', `metrics: cannot listen on ${host}:${port}: ${why}`, { cause: error });
    }
    sink.#server.unref();
    logger.log('info', `metrics for Prometheus: http://${host}:${sink.port}/metrics`);
    return sink;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #answer({ method, url = '' }: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = url.split('?')[0];
    if (path !== '/metrics' && path !== '/healthz') return end(response, 404, 'Expected /metrics or /healthz.\n');
    if (method !== 'GET' && method !== 'HEAD') return end(response, 405, 'Expected GET.\n');
    if (path === '/metrics') return end(response, 200, await this.#registry.metrics(), this.#registry.contentType);
    const { state = 'starting', problems = [] } = this.#health ?? {};
    const body = `${JSON.stringify({ state, problems })}\n`;
    // A device that lost a camera serves on: to restart it would not bring the camera back.
    end(response, state === 'running' || state === 'degraded' ? 200 : 503, body, 'application/json');
  }

  /** The device's own numbers, under their own names. */
  #setHealth(health: EventBodies['health']): void {
    this.#health = health;
    const numbers = {
      ...health.metrics,
      ...health.memory,
      uptimeSeconds: health.uptimeSeconds,
      problems: health.problems.length,
    };
    for (const [name, value] of Object.entries(numbers)) {
      const gauge = this.#gauges.get(name) ?? this.#gauge(name);
      gauge.set(value);
    }
  }

  #gauge(name: string): Gauge {
    const snake = name
      .replace(/[^A-Za-z0-9]/g, '_')
      .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
      .toLowerCase();
    const gauge = new Gauge({
      name: `scenebus_health_${snake}`,
      help: `${name} of the device's health`,
      registers: [this.#registry],
    });
    this.#gauges.set(name, gauge);
    return gauge;
  }
}

/**
 * Of this process, but no distribution of the event loop's delays: for it a timer would wake the process 100 times a
 * second, which is more than all else that an idle device does. The delay at the moment of asking stays.
 */
function collectProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry, prefix: METRIC_PREFIX, eventLoopMonitoringPrecision: HOUR_MS });
  for (const name of DELAY_STATISTICS)
    registry.removeSingleMetric(`${METRIC_PREFIX}nodejs_eventloop_lag_${name}_seconds`);
}

function end(response: ServerResponse, status: number, body: string, contentType = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' });
  response.end(body);
}
