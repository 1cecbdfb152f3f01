/**
 * What `format` means here, as patterns: RFC 3339 without leap seconds, RFC 9562, RFC 791, RFC 4291, RFC 1123, and the
 * addresses that mail forms take. The same patterns make the grammar and check the answer.
 */
const LEAP_DAY = '(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29';
const DAY =
  '\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))';
const DATE = `(?:${LEAP_DAY}|${DAY})`;
const CLOCK = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?';
const ZONE = '(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)';
const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = `${OCTET}(?:\\.${OCTET}){3}`;
const GROUP = '[0-9a-fA-F]{1,4}';
const LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?';
const ATOM = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+";

/** `::` stands for one group or more; the last two may be written as IPv4. */
function ipv6(): string {
  const last = `(?:${GROUP}:${GROUP}|${IPV4})`;
  const forms = [`(?:${GROUP}:){6}${last}`];
  for (let before = 0; before <= 7; before++) {
    const head = before === 0 ? '' : `${GROUP}(?::${GROUP}){${before - 1}}`;
    const after = 7 - before;
    const tails = [''];
    if (after >= 1) tails.push(`${GROUP}(?::${GROUP}){0,${after - 1}}`);
    if (after >= 2) tails.push(`(?:${GROUP}:){0,${after - 2}}${IPV4}`);
    forms.push(`${head}::(?:${tails.join('|')})`);
  }
  return forms.join('|');
}

export const FORMATS: Readonly<Record<string, string>> = {
  date: `^${DATE}$`,
  time: `^${CLOCK}${ZONE}$`,
  'date-time': `^${DATE}[Tt]${CLOCK}${ZONE}$`,
  duration:
    '^P(?:\\d+W|(?=\\d|T\\d)(?:\\d+Y)?(?:\\d+M)?(?:\\d+D)?(?:T(?=\\d)(?:\\d+H)?(?:\\d+M)?(?:\\d+(?:[.,]\\d+)?S)?)?)$',
  uuid: '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$',
  ipv4: `^${IPV4}$`,
  ipv6: `^(?:${ipv6()})$`,
  hostname: `^(?=.{1,253}$)${LABEL}(?:\\.${LABEL})*$`,
  email: `^${ATOM}(?:\\.${ATOM})*@${LABEL}(?:\\.${LABEL})*$`,
};

/**
 * Names that zod writes for its own string checks, always beside the pattern that says what they mean: there the
 * pattern is the constraint.
 */
export const FORMATS_BESIDE_PATTERN: ReadonlySet<string> = new Set([
  ...['base64', 'base64url', 'cidrv4', 'cidrv6', 'cuid', 'cuid2', 'e164', 'emoji', 'ends_with', 'guid', 'hex'],
  ...['includes', 'ksuid', 'lowercase', 'mac', 'nanoid', 'regex', 'starts_with', 'ulid', 'uppercase', 'xid'],
]);
