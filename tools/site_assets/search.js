// Search of exact words, with the interface of Fuse, whose fuzzy matches bury the right page in a long book.
// Every word of the query must occur; headings and API names count most, then titles, then the text.
window.Fuse = class {
  constructor(entries) {
    this.entries = entries.map((item) => ({
      item,
      section: item.section.toLowerCase(),
      title: item.title.toLowerCase(),
      text: item.text.toLowerCase(),
    }));
  }

  search(query, { limit }) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    return this.entries
      .map((entry) => ({ item: entry.item, score: this.score(entry, words) }))
      .filter((hit) => hit.score > 0)
      .sort((a, b) => b.score - a.score)
      .slice(0, limit);
  }

  score(entry, words) {
    let total = entry.section === words.join(" ") ? 100 : 0;
    for (const word of words) {
      const inText = entry.text.split(word).length - 1;
      const inHeadings = (entry.section.includes(word) ? 20 : 0) + (entry.title.includes(word) ? 10 : 0);
      if (!inText && !inHeadings) return 0;
      total += inHeadings + Math.min(inText, 5);
    }
    return total;
  }
};
