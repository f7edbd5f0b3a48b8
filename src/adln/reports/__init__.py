"""Pages and pictures: reports, ranked lists, contact sheets, charts."""
