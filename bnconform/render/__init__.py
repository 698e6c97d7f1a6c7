"""Results as text and pictures: the terminal, the page, Markdown, badge, annotations; no verdict is made here."""
