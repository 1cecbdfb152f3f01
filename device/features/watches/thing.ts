/** The thing that a standing question in English is about. */

const ARTICLE = '(?:(?:an?|any|some|the|my|your|this|that|these|those|other|more) )*';
/** How people ask; the thing begins in the group, and ends where `END` does. */
const ASKED = [
  `(?:is|are|was|were) there ${ARTICLE}(.+)`,
  `how many ${ARTICLE}(.+)`,
  `(?:can|do|did) you see ${ARTICLE}(.+)`,
  `where (?:is|are) ${ARTICLE}(.+)`,
  `wh(?:at|ich) (?:colou?r|kind|size|shape|type)s? (?:of|is|are|has) ${ARTICLE}(.+)`,
  // The last word says what it is or does: "Is the red lamp on?"
  `(?:is|are|has|have|does|do|did|can|will) ${ARTICLE}(.+) \\S+`,
].map((pattern) => new RegExp(`^${pattern}$`, 'iu'));
const END =
  /(?:^|\s)(?:at|in|on|near|by|behind|beside|besides|between|under|over|above|below|inside|outside|next|with|without|to|from|into|onto|for|that|which|who|whose|there|here|visible|present|left|standing|lying|sitting|waiting|is|are|was|were|has|have|does|do|can|and|or|not|you|still|now|right)(?=\s|$).*$/iu;
const SOMEBODY = /^(?:any|some)(?:body|one)$|^people$/iu;
const NOTHING = /^(?:(?:any|some|every|no)thing|it|he|she|they|we|you|i|there)$/iu;
const MOST_WORDS = 5;

/**
 * In the singular, without its article; undefined where the question names nothing in one of the ways that are known.
 * @example thingIn('How many red cups are on the table?') // 'red cup'
 */
export function thingIn(question: string): string | undefined {
  const plain = question
    .trim()
    .replace(/\s+/gu, ' ')
    .replace(/[\s.?!]+$/u, '');
  for (const pattern of ASKED) {
    const thing = pattern
      .exec(plain)?.[1]
      ?.replace(END, '')
      .replace(/[,;:].*$/u, '')
      .trim();
    if (thing === undefined || thing === '' || NOTHING.test(thing)) continue;
    if (SOMEBODY.test(thing)) return 'person';
    if (thing.split(' ').length <= MOST_WORDS) return singular(thing);
  }
  return undefined;
}

function singular(thing: string): string {
  return thing
    .replace(/(?<=\p{L}{2})ies$/u, 'y')
    .replace(/(?<=s|x|z|ch|sh)es$/u, '')
    .replace(/(?<=\p{L}{2}(?<!s|u|i))s$/u, '');
}
