import { describe, expect, test } from 'vitest';
import { foreignLanguage } from '#sdk/text/language.js';

describe('a prompt that is not English', () => {
  test.each([
    ['German', 'Wo ist die rote Tasse?'],
    ['German', 'Beschreibe dieses Bild in zwei Sätzen.'],
    ['German', 'Wie viele Tassen siehst du?'],
    ['German', 'Was steht auf dem Schild?'],
    ['German', 'Gibt es hier eine Person?'],
    ['French', 'Où est la tasse rouge ?'],
    ['French', 'Combien de personnes sont dans la pièce ?'],
    ['French', 'Qu’est-ce que tu vois sur la table ?'],
    ['French', 'Décris cette image.'],
    ['Italian', "Dov'è la tazza rossa?"],
    ['Italian', 'Quante persone ci sono nella stanza?'],
    ['Italian', 'Descrivi questa immagine.'],
    ['Portuguese', 'Onde está a xícara vermelha?'],
    ['Portuguese', 'Quantas pessoas há na sala?'],
    ['Portuguese', 'Descreva esta imagem em uma frase.'],
    ['Spanish', '¿Dónde está la taza roja?'],
    ['Spanish', 'Describe la imagen en una frase.'],
    ['Spanish', '¿Cuántas personas hay?'],
    ['Hindi', 'लाल कप कहाँ है?'],
    ['Hindi', 'इस चित्र का वर्णन कीजिए।'],
    ['Thai', 'แก้วสีแดงอยู่ที่ไหน'],
    ['Thai', 'มีกี่คนในห้อง'],
    ['other', '赤いカップはどこですか?'],
    ['other', 'Где красная чашка?'],
    ['other', '红色的杯子在哪里?'],
  ] as const)('is %s: %s', (language, prompt) => {
    expect(foreignLanguage(prompt)).toBe(language);
    // Decomposed accents are the same letters.
    expect(foreignLanguage(prompt.normalize('NFD'))).toBe(language);
  });

  test.each([
    'Where is the red cup?',
    'Describe this image in two sentences',
    'How many cups are there, and who holds them?',
    'Is the café of Señor Müller open?',
    'What is on the menu: crème brûlée, jalapeños, or a croissant à la carte?',
    'Who painted the Mona Lisa, Leonardo da Vinci?',
    'Is El Niño written anywhere?',
    'Read the sign.',
    'What does the sign "Wo ist die Küche?" say?',
    'What does “Où est la gare” mean?',
    'Translate 出口 on the sign.',
    'Is the zeitgeist of Los Angeles de la Vega in this photo?',
    'Los Angeles de la Vega',
    'Café de la Paix',
    'Rio de Janeiro?',
    'Count the cups on the table.',
    'Red cup: left or right?',
    'Find Gabriel García Márquez',
    'Look for die cast cars',
    'Color no. 5?',
    'cups?',
    'OK',
    '42',
    '',
    '???',
  ])('is not taken for one: %s', (prompt) => {
    expect(foreignLanguage(prompt)).toBeUndefined();
  });

  test('is not guessed at from one word', () => {
    for (const prompt of ['Tasse?', 'où?', 'Cuántos', 'la', 'descrivi'])
      expect(foreignLanguage(prompt)).toBeUndefined();
  });
});
