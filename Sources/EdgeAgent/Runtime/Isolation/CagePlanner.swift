import Glibc

/// Works out where a profile's bots may go.
struct CagePlanner: Sendable {
    /// Never in reach, whatever a profile says: the agent's state directory and the files with its secrets.
    private let secrets: GuardedPaths

    /// Programs, libraries and settings of the system; what is not there is passed over.
    private static let system = [
        "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/etc", "/proc", "/sys", "/snap",
        "/nix/store", "/gnu/store", "/run/current-system", "/run/opengl-driver",
        // What links in /etc lead to.
        "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf",
        "/run/NetworkManager/no-stub-resolv.conf", "/run/connman/resolv.conf", "/var/lib/ca-certificates",
        "/var/cache/fontconfig", "/var/lib/dbus/machine-id",
    ]

    /// Neither terminals nor shared memory, by which a bot would reach other programs of its user.
    private static let devices = ["null", "zero", "full", "random", "urandom", "tty"].map { "/dev/\($0)" }

    /// Variables of a profile that name what programs load.
    private static let libraryVariables = [
        "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "NODE_PATH", "PERL5LIB", "RUBYLIB",
        "TIKTOKEN_CACHE_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    ]

    /// - Parameter secrets: files and directories that no bot may reach.
    init(secrets: [String]) {
        self.secrets = GuardedPaths(secrets)
    }

    /// - Parameters:
    ///   - command: the words after filling in, the first the program's absolute path.
    ///   - path: the bot's PATH.
    ///   - isRoot: it runs as root, to whom modes of files say nothing.
    /// - Returns: nil where the profile wants none.
    func cage(_ profile: RuntimeProfile, command: [String], directory: BotDirectory, path: String, isRoot: Bool)
        -> Cage?
    {
        guard profile.isolation.isOn else { return nil }
        let secrets = isRoot ? secrets.with(GuardedPaths.closed(beneath: "/etc")) : secrets
        var cage = Cage()
        cage.opensUnixSockets = profile.isolation.opensUnixSockets
        cage.opened = profile.isolation.readable + profile.isolation.writable
        cage.devices = Self.devices
        cage.writable = [directory.path] + profile.isolation.writable.flatMap(secrets.around)
        let named =
            Self.system + needs(of: command, path: path) + libraries(profile.environment) + profile.isolation.readable
        var seen: Set<String> = []
        for place in named.flatMap(secrets.around) where seen.insert(place).inserted { cage.readable.append(place) }
        return cage
    }

    /// Why a profile cannot have what it asks for; nil where it can.
    func problem(_ isolation: BotIsolation) -> String? {
        for place in isolation.readable + isolation.writable
        where secrets.around(place).isEmpty && RealPath.of(place) != nil {
            return "\"isolation\" names \(place), which is the agent's own; leave it out"
        }
        return nil
    }

    private func libraries(_ environment: [String: String]) -> [String] {
        Self.libraryVariables.compactMap { environment[$0] }
            .flatMap { $0.split(separator: ":").map(String.init) }
            .filter(PathText.isPlainAbsolute)
    }

    // MARK: What a command needs

    /// The folder of small programs by which pyenv, asdf and their like start what lies beside it.
    private static let shims = "shims"

    private func needs(of command: [String], path: String) -> [String] {
        let search = path.split(separator: ":").map(String.init).filter { PathText.isPlainAbsolute($0) && !isWide($0) }
        var places = search.map { Self.name(of: $0) == Self.shims ? Self.folder(of: $0) : $0 }
        for (index, word) in command.enumerated() {
            for file in Self.paths(in: word) {
                var status = stat()
                guard stat(file, &status) == 0 else { continue }
                if status.st_mode & S_IFMT == S_IFDIR {
                    if !isWide(file) { places.append(file) }
                    continue
                }
                places += installation(of: file)
                if index == 0 || access(file, X_OK) == 0, let interpreter = interpreter(of: file, search: search) {
                    places += installation(of: interpreter)
                }
            }
        }
        return places
    }

    /// What belongs to a program or a script: its environment of Python, or what lies in the usual folders beside it, or its
    /// own folder.
    private func installation(of file: String) -> [String] {
        var places: [String] = []
        for file in Set([file, RealPath.of(file) ?? file]) {
            places.append(file)
            let folder = Self.folder(of: file)
            if Self.name(of: folder) == Self.shims, !isWide(Self.folder(of: folder)) {
                places.append(Self.folder(of: folder))
                continue
            }
            guard ["bin", "sbin", "libexec"].contains(Self.name(of: folder)) else {
                // A script loads what lies beside it.
                if !isWide(folder) { places.append(folder) }
                continue
            }
            let root = Self.folder(of: folder)
            if access(root + "/pyvenv.cfg", F_OK) == 0 {
                places.append(root)
                if let home = Self.pythonHome(root), home != folder { places += installation(of: home + "/python3") }
            } else if access(root + "/conda-meta", F_OK) == 0 {
                places.append(root)
            } else {
                places += ["bin", "lib", "lib64", "libexec"].map { root == "/" ? "/\($0)" : "\(root)/\($0)" }
            }
        }
        return places
    }

    /// The program that the first line of a script names.
    private func interpreter(of file: String, search: [String]) -> String? {
        guard let words = Self.firstLine(file), let program = words.first else { return nil }
        guard Self.name(of: program) == "env" else { return program }
        guard let name = words.dropFirst().first(where: { !$0.hasPrefix("-") && !$0.contains("=") }) else { return nil }
        return search.map { "\($0)/\(name)" }.first(where: ProgramLookup.isExecutableFile)
    }

    private static func firstLine(_ file: String) -> [String]? {
        let descriptor = RegularFile.open(file, O_RDONLY, followsLinks: true)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 2, bytes[0] == UInt8(ascii: "#"), bytes[1] == UInt8(ascii: "!") else { return nil }
        let line = bytes[2..<count].prefix { $0 != UInt8(ascii: "\n") }
        return String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace).map(String.init)
    }

    /// Where the Python of an environment comes from.
    private static func pythonHome(_ root: String) -> String? {
        guard let bytes = try? Files.read(root + "/pyvenv.cfg", followsLinks: true) else { return nil }
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: "=", maxSplits: 1)
                .map { String($0.trimmingPrefix(while: \.isWhitespace)) }
            guard parts.count == 2, parts[0].prefix(while: { !$0.isWhitespace }) == "home" else { continue }
            let home = String(parts[1].reversed().drop(while: \.isWhitespace).reversed())
            return PathText.isPlainAbsolute(home) ? home : nil
        }
        return nil
    }

    /// Places that hold other people's things as well: a script that lies there brings nothing but itself along.
    private func isWide(_ folder: String) -> Bool {
        let real = RealPath.of(folder) ?? folder
        let parts = real.split(separator: "/")
        // Directly below the top, or somebody's home.
        if parts.count < 2 || parts.count == 2 && ["home", "var", "media", "mnt"].contains(parts[0]) { return true }
        if let home = getenv("HOME"), RealPath.of(String(cString: home)) == real { return true }
        return secrets.holdsSome(real)
    }

    /// The word itself, and what stands behind `=` in `--script=/path`.
    private static func paths(in word: String) -> [String] {
        var parts = [word]
        if word.hasPrefix("-"), let equals = word.firstIndex(of: "=") {
            parts = [String(word[word.index(after: equals)...])]
        }
        return parts.filter(PathText.isPlainAbsolute)
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    private static func name(of path: String) -> String { path.split(separator: "/").last.map(String.init) ?? "" }
}
