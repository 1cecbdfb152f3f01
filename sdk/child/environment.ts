/** Names whose values are of no use to a child that computes: what it does not have, it cannot lose. */
const SECRET = /PASSWORD|PASSWD|SECRET|CREDENTIAL|TOKEN|API_?KEY|PRIVATE_?KEY|^SCENEBUS_(?:MQTT|CAMERA)_/i;
/** What is meant for the parent alone: a debugger's port, a test runner's hooks. */
const PARENT_ONLY = /^(?:NODE_OPTIONS|NODE_CHANNEL_.*|NODE_V8_COVERAGE)$/;

/** The parent's environment for a child process: without secrets, and without what is meant for the parent alone. */
export function childEnvironment(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !SECRET.test(name) && !PARENT_ONLY.test(name)),
  );
}
