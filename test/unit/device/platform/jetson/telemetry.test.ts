/** Trees laid out as the Developer Guide describes them; none was recorded on a device. */
import { describe, expect, test } from 'vitest';
import { TelemetryReader } from '#device/platform/jetson/telemetry.js';

const MONITOR = '/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1';

function filesOf(tree: Record<string, string | Error>) {
  return {
    readText: async (path: string) => {
      const found = tree[path];
      if (found === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
      if (found instanceof Error) throw found;
      return found;
    },
    list: async (path: string) => {
      const names = Object.keys(tree)
        .filter((file) => file.startsWith(`${path}/`))
        .map((file) => file.slice(path.length + 1).split('/')[0]!);
      if (names.length === 0) throw new Error('ENOENT');
      return [...new Set(names)];
    },
  };
}

const orin = (): Record<string, string | Error> => ({
  '/sys/class/thermal/thermal_zone0/type': 'cpu-thermal\n',
  '/sys/class/thermal/thermal_zone0/temp': '48562\n',
  '/sys/class/thermal/thermal_zone1/type': 'gpu-thermal\n',
  '/sys/class/thermal/thermal_zone1/temp': Object.assign(new Error('EAGAIN'), { code: 'EAGAIN' }),
  '/sys/class/thermal/thermal_zone2/type': 'cv0-thermal\n',
  '/sys/class/thermal/thermal_zone2/temp': '-256000\n',
  '/sys/class/thermal/cooling_device0/type': 'pwm-fan\n',
  [`${MONITOR}/in1_label`]: 'VDD_GPU_SOC\n',
  [`${MONITOR}/in1_input`]: '5000\n',
  [`${MONITOR}/curr1_input`]: '1600\n',
  [`${MONITOR}/in2_label`]: 'VDD_CPU_CV\n',
  [`${MONITOR}/in2_input`]: '5000\n',
  '/sys/devices/platform/gpu.0/load': '735\n',
  '/sys/class/hwmon/hwmon4/oc1_event_cnt': '3\n',
  '/sys/class/hwmon/hwmon4/oc3_event_cnt': '10\n',
});

describe('telemetry of a Jetson', () => {
  test('has temperatures, power of the rails and the load of the GPU; what does not answer is left out', async () => {
    expect(await new TelemetryReader(filesOf(orin())).read()).toEqual({
      cpuTemperatureCelsius: 48.562,
      vddGpuSocPowerWatts: 8,
      gpuLoadPercent: 73.5,
      overCurrentThrottlings: 0,
    });
  });

  test('counts throttling from its first reading on, over a reset of the counter too', async () => {
    const tree = orin();
    const reader = new TelemetryReader(filesOf(tree));
    await reader.read();
    tree['/sys/class/hwmon/hwmon4/oc1_event_cnt'] = '5\n';
    expect(await reader.read()).toMatchObject({ overCurrentThrottlings: 2 });
    tree['/sys/class/hwmon/hwmon4/oc1_event_cnt'] = '1\n';
    expect(await reader.read()).toMatchObject({ overCurrentThrottlings: 1 });
  });

  test('finds the GPU of JetPack 6 and later where it is there, and nothing on another machine', async () => {
    const tree = { '/sys/devices/platform/bus@0/17000000.gpu/load': '10\n' };
    expect(await new TelemetryReader(filesOf(tree)).read()).toEqual({ gpuLoadPercent: 1 });
    expect(await new TelemetryReader(filesOf({})).read()).toEqual({});
    const garbled = { ...orin(), '/sys/devices/platform/gpu.0/load': 'busy\n' };
    expect(await new TelemetryReader(filesOf(garbled)).read()).not.toHaveProperty('gpuLoadPercent');
  });

  test('reads this machine without complaint', async () => {
    expect(Object.values(await new TelemetryReader().read()).every(Number.isFinite)).toBe(true);
  });
});
