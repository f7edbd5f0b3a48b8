"""Pages and pictures for people: reports, ranked lists, contact sheets, charts."""
