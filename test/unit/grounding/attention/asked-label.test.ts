import { expect, test } from 'vitest';
import { askedLabel } from '#sdk/grounding/attention/asked-label.js';

const OWN = 'Where in this image is the {label}?';

test.each([
  ['Where in this image is the red cup?', OWN, 'red cup'],
  ['Where is the red cup?', OWN, 'red cup'],
  ["where's my phone", OWN, 'phone'],
  ['Where are the keys?', OWN, 'keys'],
  ['Find the purple banana.', OWN, 'purple banana'],
  ['Show me an apple in the picture!', OWN, 'apple'],
  ['Please point to the lamp', OWN, 'lamp'],
  ['Wo ist die rote Tasse?', 'Wo ist {label}?', 'die rote Tasse'],
  ['Where is $& {label}?', 'Where is {label}?', '$& {label}'],
  ['Describe the scene.', OWN, undefined],
  ['Is there a cup?', OWN, undefined],
  ['Where is ?', OWN, undefined],
  ['', OWN, undefined],
  [`Where is the ${'x'.repeat(201)}?`, OWN, undefined],
])('%j asks for %j', (question, prompt, label) => {
  expect(askedLabel(question, prompt)).toBe(label);
});
