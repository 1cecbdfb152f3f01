import type { SelfTestReport } from 'scenebus/tensorrt';

/** One line a layer, and what follows from it. */
export function formatSelfTest(reports: readonly SelfTestReport[]): string[] {
  const lines = reports.flatMap(({ mode, layers, checks, reason }) => {
    const what = `${mode} mode, ${layers ? 'layer by layer' : 'the plans that serve'}`;
    const width = Math.max(0, ...checks.map(({ name }) => name.length));
    return [
      `${what}: ${reason === null ? 'passed' : `FAILED, ${reason}`}`,
      ...checks.map(({ name, error, tolerance }) => {
        const mark = error <= tolerance ? 'ok  ' : 'FAIL';
        return `  ${mark} ${name.padEnd(width)} relative error ${error.toExponential(1)}, at most ${tolerance}`;
      }),
    ];
  });
  const serving = reports.at(-1);
  const mode = serving?.mode ?? 'none';
  const passed = reports.every((report) => report.mode !== mode || report.reason === null);
  return [...lines, passed ? `This device serves in ${mode} mode.` : 'This device does not serve with TensorRT.'];
}
