// From what a learner types to the sections that say it: words and their stems, one name per thing,
// and the order of the results. MiniSearch keeps the index, stemmer shortens words.
"use strict";

window.makeFinder = (() => {
  // Names of one thing: whichever is typed, sections with any of them are found.
  const SYNONYMS = [
    ["bfloat16", "bf16"], ["float16", "fp16", "half precision"], ["float32", "fp32"],
    ["float64", "fp64", "double precision"], ["mamba 2", "mamba2"], ["delta", "dt", "step size"],
    ["kv cache", "kvcache", "key value cache"], ["state space duality", "ssd"],
    ["state space model", "ssm"], ["recurrent neural network", "rnn"],
    ["large language model", "llm"], ["linear time invariant", "lti"],
    ["zero order hold", "zoh"], ["fast fourier transform", "fft"], ["long short term memory", "lstm"],
    ["parallel scan", "prefix sum", "associative scan"], ["gpu memory", "hbm"],
    ["padding", "packing", "variable length"], ["s6", "selective ssm"], ["warm up", "warmup"],
    ["length extrapolation", "length generalization", "beyond the lengths"],
  ];
  // Words without which a question asks the same.
  const EMPTY = new Set(("a an and are as at be beside between by can did do does for from how i in "
    + "is it its me mean means my no not of on or so than that the then there this to versus vs was "
    + "we what when where which who why will with you your").split(" "));
  const NAMES = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho "
    + "sigma tau upsilon phi chi psi omega").split(" ");
  const GREEK = Object.fromEntries(
    [..."αβγδεζηθικλμνξπρστυφχψω"].map((sign, place) => [sign, NAMES[place]]));

  // A function of a word that is computed once for each.
  function remembered(compute) {
    const results = new Map();
    return (word) => {
      if (!results.has(word)) results.set(word, compute(word));
      return results.get(word);
    };
  }

  const stem = remembered((word) => stemmer(word));
  const american = remembered((word) => word
    .replace(/(?<=\w{3})is(e|ed|es|ing|ation|ations|er)$/, "iz$1")
    .replace(/(?<=\w{3})our(s|ed|ing|al)?$/, "or$1").replace(/ell(ed|ing)$/, "el$1"));

  // Words in lower case and American spelling, without accents and possessives; Greek letters by
  // their names. An A that does not begin a sentence is the matrix, "a_", and no article.
  function words(text, parts = (word) => [word]) {
    const plain = text.normalize("NFKD").replace(/\p{M}/gu, "").replace(/['’]s\b/g, "")
      .replace(/[Α-Ωα-ω]/g, (sign) => ` ${GREEK[sign.toLowerCase()]} `)
      .replace(/(?<=[^.!?:·\s]\s+)A(?![\p{L}\p{N}_])|^A(?=\s*$)/gu, "A_");
    return (plain.match(/[\p{L}\p{N}_]+/gu) ?? []).flatMap(parts)
      .map((word) => american(word.toLowerCase()));
  }

  // A name such as selective_scan or MambaLM is found as a whole and by its parts.
  function wholeAndParts(word) {
    if (!/_|\p{Ll}\p{Lu}/u.test(word)) return [word];
    return [word, ...word.split(/_+|(?<=\p{Ll})(?=\p{Lu})/u).filter(Boolean)];
  }

  const PHRASES = SYNONYMS.flatMap((names) => names.map((name) => (
    { term: names[0].replaceAll(" ", "+"), stems: name.split(" ").map(stem) })))
    .sort((a, b) => b.stems.length - a.stems.length);

  const BEGINNINGS = new Map(PHRASES.map(({ stems: [first] }) => [
    first, PHRASES.filter((phrase) => phrase.stems[0] === first)]));

  // The phrase that begins at a place, the longest if there are several.
  const phraseAt = (all, place) => BEGINNINGS.get(all[place])?.find(
    (phrase) => phrase.stems.every((one, offset) => one === all[place + offset]));

  // The terms under which a text is found: its words, their stems, and the names of its phrases. No
  // term counts more than four times, which keeps the index small.
  function terms(text) {
    const all = words(text, wholeAndParts);
    const short = all.map(stem);
    const names = short.map((_, place) => phraseAt(short, place)?.term).filter(Boolean);
    const counts = new Map();
    return [...all, ...short.filter((one, place) => one !== all[place]), ...names].filter((one) => {
      const count = counts.get(one) ?? 0;
      counts.set(one, count + 1);
      return count < 4;
    });
  }

  // What is looked for: a list of units, each with its term and with the words that were typed.
  function units(query) {
    const typed = words(query.replaceAll("minimamba.", ""));
    const all = typed.filter((word) => !EMPTY.has(word));
    if (!all.length) all.push(...typed.slice(-1));
    const short = all.map(stem);
    const found = [];
    for (let place = 0; place < all.length;) {
      const phrase = phraseAt(short, place);
      const next = place + (phrase?.stems.length ?? 1);
      found.push({ term: phrase?.term ?? short[place], isName: Boolean(phrase),
        words: all.slice(place, next), isLast: next === all.length });
      place = next;
    }
    return found;
  }

  const PROSE = ["title", "questions", "chapter", "text"];
  const scaled = (factor) => ({ title: 5 * factor, questions: 2 * factor, chapter: factor,
    text: factor, code: factor });
  const asTerms = (all) => ({ combineWith: "AND",
    queries: all.map((one) => ({ queries: [one], tokenize: (text) => [text] })) });

  return (sections) => {
    const known = new Set();
    const index = new MiniSearch({
      fields: [...PROSE, "code"],
      idField: "url",
      tokenize: terms,
      processTerm(term) {
        known.add(term);
        return term;
      },
    });
    index.addAll(sections);
    const byUrl = new Map(sections.map((section) => [section.url, section]));

    // A unit is found by its term, a name or a stem, and by its words: also by longer ones while one
    // is being typed, and by similar ones where the course has no such word.
    function either({ term, isName, words: typed, isLast }) {
      const isKnown = known.has(term) || typed.every((word) => known.has(word));
      const [word] = typed;
      const isLong = typed.length === 1 && word.length > 2;
      return { combineWith: "OR", queries: [
        { ...asTerms([term]), boost: scaled(isName ? 1 : 0.5) },
        { ...asTerms(typed), boost: scaled(typed.length > 1 ? 0.2 : 1),
          prefix: isLast && isLong, fuzzy: !isKnown && isLong && 0.25 },
      ] };
    }

    // Chapters come before the API reference, and that of the course's own modules comes last; but
    // an entry comes first for its name, if it can be no other word, such as selective_scan, and
    // among the first if the name was typed as words.
    function weight(url, query, isCode) {
      const section = byUrl.get(url);
      if (!section.api) return section.chapter === "Glossary" || section.level === 1 ? 1.5 : 1;
      if (url.startsWith("api/course.")) return 0.005;
      const typed = words(query);
      if (typed.length > 1 && typed.join("_") === words(section.title).join(" ")) return 2;
      return isCode && words(section.title).every((word) => typed.includes(word)) ? 2 : 0.02;
    }

    // The part of a title that matches: all of "Δ", half of "Discretization and Δ".
    function titleShare(section, matched) {
      const all = words(section.title).filter((word) => !EMPTY.has(word) && !/^\d+$/.test(word));
      const hits = all.filter((word) => terms(word).some((one) => matched.has(one)));
      return all.length ? hits.length / all.length : 0;
    }

    // The sections for a query, best first, each with a test of whether a word of it was found.
    return (query) => {
      const wanted = units(query);
      if (!wanted.length) return [];
      const isCode = /[a-z][A-Z]|_|\w\.\w/.test(query);
      const search = (combineWith, fields) => index.search(
        { combineWith, queries: wanted.map(either) },
        { fields, processTerm: (term) => term, weights: { fuzzy: 0.3, prefix: 0.3 },
          boostDocument: (url) => weight(url, query, isCode) });
      const results = new Map();
      const add = (found, isInCode) => found.filter(({ id }) => !results.has(id))
        .forEach((one) => results.set(one.id, { ...one, isInCode }));
      add(search("AND", PROSE), false);
      if (results.size < 3) add(search("OR", PROSE), false);
      add(search("AND", [...PROSE, "code"]), true);
      return [...results.values()].map(({ id, score, match, queryTerms, isInCode }) => {
        const section = byUrl.get(id);
        const matched = new Set(Object.keys(match));
        const share = wanted.filter(({ term, words: typed }) => queryTerms.includes(term)
          || typed.every((word) => queryTerms.includes(word))).length / wanted.length;
        return { section, isInCode, matches: (word) => terms(word).some((one) => matched.has(one)),
          score: score * share ** 2 * (1 + 2 * titleShare(section, matched)) };
      }).sort((a, b) => a.isInCode - b.isInCode || b.score - a.score);
    };
  };
})();
