import Glibc

/// Paths that no bot may reach. A rule of Landlock holds for all below a directory, so a directory with one of them in it is given
/// in pieces: everything beside the way to it. What is made there later is in no piece; the next launch has it.
struct GuardedPaths: Sendable {
    /// More entries of one directory are not looked at, and then none of it is given.
    private static let maximumEntries = 20_000
    private static let maximumDepth = 8

    /// Behind every link; what does not exist yet by where it would be.
    private let paths: [String]

    init(_ paths: [String]) {
        self.paths = Set(paths.map { RealPath.ofPossible($0) }).sorted()
    }

    /// With more of them.
    func with(_ more: [String]) -> GuardedPaths { GuardedPaths(paths + more) }

    /// The place itself, or its pieces where a guarded path lies below it; nothing where it is guarded or not there.
    func around(_ place: String) -> [String] {
        guard let real = RealPath.of(place) else { return [] }
        return pieces(real, depth: 0)
    }

    /// Whether a guarded path is there or below.
    func holdsSome(_ real: String) -> Bool { paths.contains { PathText.isInside($0, real) } }

    private func pieces(_ place: String, depth: Int) -> [String] {
        guard !paths.contains(where: { PathText.isInside(place, $0) }) else { return [] }
        guard holdsSome(place) else { return [place] }
        let names = DirectoryNames.list(place, atMost: Self.maximumEntries + 1, isWhole: true)
        guard depth < Self.maximumDepth, names.count <= Self.maximumEntries else { return [] }
        return names.flatMap { name -> [String] in
            let path = place == "/" ? "/\(name)" : "\(place)/\(name)"
            var status = stat()
            // A link needs no rule; what it leads to has its own.
            guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFLNK else { return [] }
            return pieces(path, depth: depth + 1)
        }
    }

    /// What not everybody may read below a directory: to root, modes say nothing, so they are kept in its place.
    static func closed(beneath place: String) -> [String] {
        var found: [String] = []
        var looked = 0
        var next = [(path: place, depth: 0)]
        while let (path, depth) = next.popLast() {
            for name in DirectoryNames.list(path, atMost: maximumEntries, isWhole: true) {
                let child = "\(path)/\(name)"
                var status = stat()
                guard lstat(child, &status) == 0 else { continue }
                let kind = status.st_mode & S_IFMT
                let open: mode_t = kind == S_IFDIR ? 0o005 : 0o004
                looked += 1
                if kind != S_IFLNK, status.st_mode & open != open || looked > maximumEntries {
                    found.append(child)
                } else if kind == S_IFDIR, depth < maximumDepth {
                    next.append((child, depth + 1))
                }
            }
        }
        return found
    }
}
