/** Python's `datetime.strftime`, as chat templates use it: local time, always in English. */

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

const MS_PER_DAY = 86_400_000;

/** Every directive of C89, those that glibc adds and people use, and `%-d`: no leading zero. Others stay as they are. */
export function strftime(date: Date, format: string): string {
  const month = MONTHS[date.getMonth()]!;
  const day = DAYS[date.getDay()]!;
  const hours = date.getHours();
  const hours12 = hours % 12 === 0 ? 12 : hours % 12;
  const dayOfYear =
    Math.round(
      (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / MS_PER_DAY,
    ) + 1;
  /** Of the year, the first one beginning with the first Sunday (Monday). */
  const week = (weekday: number) => Math.floor((dayOfYear + 6 - weekday) / 7);
  const padded = (value: number, digits: number, flag: string, fill = '0') =>
    flag === '-' ? String(value) : String(value).padStart(digits, flag === '_' ? ' ' : fill);
  const part = (directive: string, flag: string): string | undefined => {
    switch (directive) {
      case 'Y':
        return String(date.getFullYear());
      case 'y':
        return padded(date.getFullYear() % 100, 2, flag);
      case 'm':
        return padded(date.getMonth() + 1, 2, flag);
      case 'd':
        return padded(date.getDate(), 2, flag);
      case 'e':
        return padded(date.getDate(), 2, flag, ' ');
      case 'b':
      case 'h':
        return month.slice(0, 3);
      case 'B':
        return month;
      case 'a':
        return day.slice(0, 3);
      case 'A':
        return day;
      case 'H':
        return padded(hours, 2, flag);
      case 'I':
        return padded(hours12, 2, flag);
      case 'M':
        return padded(date.getMinutes(), 2, flag);
      case 'S':
        return padded(date.getSeconds(), 2, flag);
      case 'f':
        return padded(date.getMilliseconds() * 1000, 6, flag);
      case 'p':
        return hours < 12 ? 'AM' : 'PM';
      case 'j':
        return padded(dayOfYear, 3, flag);
      case 'w':
        return String(date.getDay());
      case 'u':
        return String(date.getDay() === 0 ? 7 : date.getDay());
      case 'U':
        return padded(week(date.getDay()), 2, flag);
      case 'W':
        return padded(week((date.getDay() + 6) % 7), 2, flag);
      case 'D':
      case 'x':
        return strftime(date, '%m/%d/%y');
      case 'F':
        return strftime(date, '%Y-%m-%d');
      case 'R':
        return strftime(date, '%H:%M');
      case 'T':
      case 'X':
        return strftime(date, '%H:%M:%S');
      case 'c':
        return strftime(date, '%a %b %e %H:%M:%S %Y');
      case 's':
        return String(Math.floor(date.getTime() / 1000));
      // A datetime without a time zone, which Python's now() gives, has nothing to say here.
      case 'z':
      case 'Z':
        return '';
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case '%':
        return '%';
      default:
        return undefined;
    }
  };
  return format.replace(
    /%([-_]?)([a-zA-Z%])/g,
    (text, flag: string, directive: string) => part(directive, flag) ?? text,
  );
}
