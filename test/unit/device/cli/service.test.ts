/** `scenebus service`, on a system whose systemctl, journalctl and useradd only write down what they are told. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { runCli } from '#device/cli/program.js';
import { captureTerminal } from '../../../support/captured-terminal.js';
import { makeTemporaryFolder } from '../../../support/temporary-folder.js';

async function makeSystem({
  hasUser = true,
  statusOf = {} as Record<string, number>,
  groups = ['video', 'render'] as readonly string[],
} = {}) {
  const folder = await makeTemporaryFolder('scenebus-systemd-');
  const programs = join(folder, 'bin');
  await mkdir(programs);
  const log = join(folder, 'calls');
  for (const name of ['systemctl', 'journalctl', 'useradd', 'id']) {
    const status = name === 'id' ? (hasUser ? 0 : 1) : (statusOf[name] ?? 0);
    await writeFile(
      join(programs, name),
      `#!/bin/sh\necho "${name} $@" >> ${log}\necho "said by ${name}"\nexit ${status}\n`,
    );
    await chmod(join(programs, name), 0o755);
  }
  const known = groups.map((group) => `[ "$2" = ${group} ] && exit 0`).join('\n');
  await writeFile(join(programs, 'getent'), `#!/bin/sh\n${known}\nexit 2\n`, { mode: 0o755 });
  const config = join(folder, 'my config.yaml');
  await writeFile(config, 'version: 1\nmodel: { directory: m }\ncameras: [{ id: a, address: "0" }]\n');
  const scenebus = async (...args: string[]) => {
    const terminal = captureTerminal();
    const code = await runCli(['service', ...args], { terminal, environment: { PATH: `${programs}:/bin:/usr/bin` } });
    return { code, out: terminal.output(), err: terminal.errors() };
  };
  const calls = () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);
  return { folder, config, units: join(folder, 'units'), scenebus, calls };
}

describe('scenebus service install', () => {
  test('writes a unit with the paths of this installation, makes the user, enables and starts it', async () => {
    const { config, units, scenebus, calls } = await makeSystem({ hasUser: false });
    const { code, err } = await scenebus('install', '--config', config, '--user', 'eyes', '--unit-folder', units);
    expect(err).toContain('enabled and started');
    expect(code).toBe(0);
    expect(calls().slice(1)).toEqual([
      'useradd --system --home-dir /var/lib/scenebus --shell /usr/sbin/nologin --groups video,render eyes',
      'systemctl daemon-reload',
      'systemctl enable --now scenebus.service',
    ]);
    const unit = readFileSync(join(units, 'scenebus.service'), 'utf8');
    expect(unit).toMatch(
      new RegExp(`^ExecStart=${process.execPath} .*/dist/device/cli/main\\.js run --config "${config}"$`, 'm'),
    );
    expect(unit).toMatch(/^Type=notify$/m);
    expect(unit).toMatch(/^WatchdogSec=30$/m);
    expect(unit).toMatch(/^User=eyes$/m);
    expect(unit).toMatch(/^ExecReload=\/bin\/kill -HUP \$MAINPID$/m);
  });

  test.each([
    [['video', 'render'], '--groups video,render scenebus', ['SupplementaryGroups=video render']],
    [['video'], '--groups video scenebus', ['SupplementaryGroups=video']],
    [[], '/usr/sbin/nologin scenebus', []],
  ])('names the groups %s that the machine has, and no other', async (groups, user, lines) => {
    const { config, units, scenebus, calls } = await makeSystem({ hasUser: false, groups });
    expect((await scenebus('install', '--config', config, '--unit-folder', units)).code).toBe(0);
    expect(calls().find((call) => call.startsWith('useradd'))).toMatch(new RegExp(`${user}$`));
    const unit = readFileSync(join(units, 'scenebus.service'), 'utf8');
    expect(unit.match(/^SupplementaryGroups=.*$/gm) ?? []).toEqual(lines);
  });

  test('refuses a wrong configuration before it changes anything', async () => {
    const { config, units, scenebus, calls } = await makeSystem();
    await writeFile(config, 'version: 1\ncameras: []\n');
    const { code, err } = await scenebus('install', '--config', config, '--unit-folder', units);
    expect(code).toBe(2);
    expect(err).toContain('ERR_CONFIG_INVALID');
    expect(calls()).toEqual([]);
    expect(existsSync(units)).toBe(false);
  });

  test('only shows what it would do when it is asked to', async () => {
    const { config, units, scenebus, calls } = await makeSystem();
    const { code, out, err } = await scenebus('install', '--config', config, '--unit-folder', units, '--dry-run');
    expect(code).toBe(0);
    expect(out).toContain('[Service]');
    expect(err).toContain('systemctl daemon-reload');
    expect(calls()).toEqual([]);
    expect(existsSync(units)).toBe(false);
  });

  test('fails where systemd does', async () => {
    const { config, units, scenebus, calls } = await makeSystem({ statusOf: { systemctl: 4 } });
    const { code, err } = await scenebus('install', '--config', config, '--unit-folder', units, '--no-start');
    expect(code).toBe(1);
    expect(err).toContain('`systemctl daemon-reload` ended with 4');
    expect(calls().at(-1)).toBe('systemctl daemon-reload');
  });
});

describe('scenebus service', () => {
  test.each([
    [['status'], 'systemctl status --no-pager scenebus.service'],
    [['logs', '-n', '5', '--follow'], 'journalctl --no-pager --unit=scenebus.service --lines=5 --follow'],
    [['reload'], 'systemctl reload scenebus.service'],
  ])('%s asks systemd and hands on what it says', async (args, call) => {
    const { scenebus, calls } = await makeSystem();
    const { code, out } = await scenebus(...args);
    expect(code).toBe(0);
    expect(calls()).toEqual([call]);
    expect(out).toContain('said by');
  });

  test('tells by its exit code that the service does not run, and by words that there is no systemd', async () => {
    const { scenebus } = await makeSystem({ statusOf: { systemctl: 3 } });
    expect((await scenebus('status')).code).toBe(1);
    const terminal = captureTerminal();
    expect(await runCli(['service', 'status'], { terminal, environment: { PATH: '/nowhere' } })).toBe(2);
    expect(terminal.errors()).toContain('systemctl');
  });
});

const hasAnalyser = await promisify(execFile)('systemd-analyze', ['--version']).then(
  () => true,
  () => false,
);

test.runIf(hasAnalyser)('the unit is correct in the eyes of systemd', async () => {
  const { config, units, scenebus } = await makeSystem();
  await scenebus('install', '--config', config, '--user', 'root', '--unit-folder', units);
  const { stderr } = await promisify(execFile)('systemd-analyze', ['verify', join(units, 'scenebus.service')]).catch(
    (error: { stderr: string }) => error,
  );
  expect(stderr.split('\n').filter((line) => line.includes('scenebus.service'))).toEqual([]);
});
