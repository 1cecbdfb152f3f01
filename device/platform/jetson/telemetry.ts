/**
 * Temperatures, power rails, GPU load and throttling, from sysfs as L4T 35 to 38 lay it out (NVIDIA Jetson Linux
 * Developer Guide, "Platform Power and Performance"). What a board lacks, or does not tell at the moment (a thermal zone
 * of a sleeping GPU answers EAGAIN), is left out: that is normal.
 */
import { readdir, readFile } from 'node:fs/promises';

/** Of sysfs; paths are absolute. */
export interface SystemFiles {
  readonly readText: (path: string) => Promise<string>;
  readonly list: (path: string) => Promise<readonly string[]>;
}

/** Plain numbers for `health`; names carry units. */
export type Telemetry = Readonly<Record<string, number>>;

const systemFiles: SystemFiles = { readText: (path) => readFile(path, 'utf8'), list: (path) => readdir(path) };

const GPU_LOADS = ['/sys/devices/platform/gpu.0/load', '/sys/devices/platform/bus@0/17000000.gpu/load'];
const INA3221 = '/sys/bus/i2c/drivers/ina3221';
const HWMON = '/sys/class/hwmon';
const RAILS = [1, 2, 3];
const ALARMS = [1, 2, 3, 4];

/** Reads now and then; throttling is counted from the first reading on. */
export class TelemetryReader {
  readonly #files: SystemFiles;
  readonly #firstEvents = new Map<string, number>();

  constructor(files: SystemFiles = systemFiles) {
    this.#files = files;
  }

  /** Never rejects. */
  async read(): Promise<Telemetry> {
    const parts = await Promise.all([this.#temperatures(), this.#rails(), this.#gpuLoad(), this.#throttling()]);
    return Object.assign({}, ...parts);
  }

  async #temperatures(): Promise<Telemetry> {
    const found: Record<string, number> = {};
    for (const zone of await this.#list('/sys/class/thermal')) {
      if (!zone.startsWith('thermal_zone')) continue;
      const type = await this.#text(`/sys/class/thermal/${zone}/type`);
      const millidegrees = await this.#number(`/sys/class/thermal/${zone}/temp`);
      // A sensor that is switched off shows -256 °C.
      if (type !== undefined && millidegrees !== undefined && millidegrees > -100_000)
        found[`${metricName(type.replace(/[-_]?thermal$/i, ''))}TemperatureCelsius`] = millidegrees / 1000;
    }
    return found;
  }

  /** Each rail of the power monitor: millivolts times milliamperes. */
  async #rails(): Promise<Telemetry> {
    const found: Record<string, number> = {};
    for (const folder of await this.#monitors()) {
      for (const channel of RAILS) {
        const label = await this.#text(`${folder}/in${channel}_label`);
        const millivolts = await this.#number(`${folder}/in${channel}_input`);
        const milliamperes = await this.#number(`${folder}/curr${channel}_input`);
        if (label !== undefined && millivolts !== undefined && milliamperes !== undefined)
          found[`${metricName(label)}PowerWatts`] = (millivolts * milliamperes) / 1e6;
      }
    }
    return found;
  }

  /** The driver tells it in thousandths. */
  async #gpuLoad(): Promise<Telemetry> {
    for (const path of GPU_LOADS) {
      const thousandths = await this.#number(path);
      if (thousandths !== undefined) return { gpuLoadPercent: thousandths / 10 };
    }
    return {};
  }

  /** Times that the board slowed down for over-current since this reader began. */
  async #throttling(): Promise<Telemetry> {
    let events: number | undefined;
    for (const monitor of await this.#list(HWMON)) {
      for (const alarm of ALARMS) {
        const path = `${HWMON}/${monitor}/oc${alarm}_event_cnt`;
        const count = await this.#number(path);
        if (count === undefined) continue;
        const first = this.#firstEvents.get(path);
        // A counter that went back was reset.
        if (first === undefined || count < first) this.#firstEvents.set(path, first === undefined ? count : 0);
        events = (events ?? 0) + count - this.#firstEvents.get(path)!;
      }
    }
    return events === undefined ? {} : { overCurrentThrottlings: events };
  }

  async #monitors(): Promise<string[]> {
    const folders: string[] = [];
    for (const device of await this.#list(INA3221)) {
      if (!/^\d+-[0-9a-f]{4}$/.test(device)) continue;
      for (const monitor of await this.#list(`${INA3221}/${device}/hwmon`))
        folders.push(`${INA3221}/${device}/hwmon/${monitor}`);
    }
    return folders;
  }

  async #list(path: string): Promise<readonly string[]> {
    return this.#files.list(path).catch(() => []);
  }

  async #text(path: string): Promise<string | undefined> {
    return this.#files.readText(path).then(
      (text) => text.trim() || undefined,
      () => undefined,
    );
  }

  async #number(path: string): Promise<number | undefined> {
    const text = await this.#text(path);
    const value = Number(text);
    return text === undefined || !Number.isFinite(value) ? undefined : value;
  }
}

/** `VDD_GPU_SOC` becomes `vddGpuSoc`. */
function metricName(label: string): string {
  return label
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean)
    .map((word, i) => (i === 0 ? word : word[0]!.toUpperCase() + word.slice(1)))
    .join('');
}
