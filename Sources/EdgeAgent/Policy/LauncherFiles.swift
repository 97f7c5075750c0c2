import Glibc

/// The real path of what exists.
enum RealPath {
    /// Behind every symbolic link; nil where there is nothing.
    static func of(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// As ``of(_:)``; of what does not exist yet, the real path of the nearest folder that does, with the rest behind it.
    static func ofPossible(_ path: String, resolve: (String) -> String? = RealPath.of) -> String {
        var folder = PathText.normalized(path)
        var rest = ""
        while folder != "/" {
            if let real = resolve(folder) { return PathText.normalized(real + rest) }
            guard let slash = folder.lastIndex(of: "/") else { break }
            rest = folder[slash...] + rest
            folder = slash == folder.startIndex ? "/" : String(folder[..<slash])
        }
        return PathText.normalized(path)
    }
}

/// What a launch command runs, as far as that lies in a place the hub can write: the bot's workspace.
///
/// The program, the first word that is no option (an interpreter's script), and every other word that names a file which
/// looks like a program. A program's whole folder counts with it, because interpreters load what lies beside a script.
struct LauncherFiles: Sendable, Equatable {
    private static let programSuffixes = [
        ".py", ".pyc", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl", ".sh", ".bash", ".lua", ".php", ".jar",
        ".wasm",
        ".so", ".exe",
    ]

    /// Resolved paths inside the workspace.
    let files: [String]
    private let folders: [String]

    /// - Parameters:
    ///   - command: the words after filling in.
    ///   - workingDirectory: of the bot, where relative words start.
    ///   - isExecutable: whether there is a file that may be run.
    init(
        command: [String],
        workingDirectory: String,
        workspace: String,
        resolve: (String) -> String? = RealPath.of,
        isExecutable: (String) -> Bool = LauncherFiles.isExecutableFile
    ) {
        let root = RealPath.ofPossible(workspace, resolve: resolve)
        var found: [String] = []
        var hasScript = false
        for (index, word) in command.enumerated() {
            let isScript = index > 0 && !hasScript && !word.hasPrefix("-")
            if isScript { hasScript = true }
            for part in Self.paths(in: word) {
                let path = part.hasPrefix("/") ? part : workingDirectory + "/" + part
                let real = RealPath.ofPossible(path, resolve: resolve)
                // The workspace itself is what the bot is told, not what is run.
                guard real != root else { continue }
                // The link's own place counts as well: whoever replaces the link replaces the program.
                let here = RealPath.ofPossible(Self.folder(of: path), resolve: resolve) + "/" + Self.name(of: path)
                let looksLikeProgram =
                    index == 0 || isScript || Self.programSuffixes.contains { part.hasSuffix($0) } || isExecutable(real)
                guard looksLikeProgram else { continue }
                found += Set([real, PathText.normalized(here)]).filter { PathText.isInside($0, root) }.sorted()
            }
        }
        files = found
        folders = found.map(Self.folder)
    }

    /// Nothing of the launch lies in the workspace.
    static let none = LauncherFiles()

    private init() { (files, folders) = ([], []) }

    /// The launcher's file that a change at `path` would change; nil where it would change none.
    func touched(by path: String) -> String? {
        for (file, folder) in zip(files, folders)
        where PathText.isInside(path, folder) || PathText.isInside(file, path) {
            return file
        }
        return nil
    }

    static func isExecutableFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
    }

    /// The word, and what stands behind `=` in `--script=path`.
    private static func paths(in word: String) -> [String] {
        var parts = word.hasPrefix("-") ? [] : [word]
        if let equals = word.firstIndex(of: "=") { parts.append(String(word[word.index(after: equals)...])) }
        return parts.filter { !$0.isEmpty }
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    private static func name(of path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? ""
    }
}
