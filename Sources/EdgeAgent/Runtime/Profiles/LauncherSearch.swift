/// Looks for an installed nanobot where no launch command was configured.
///
/// In this order: virtual environments `nanobot-v<version>` under the configured roots, those in and under `~/.local` with
/// `~/.local/bin`, and PATH. Within one place the newest version comes first. The first that answers and can speak the
/// bot contract is taken.
struct LauncherSearch: Sendable {
    /// Where administrators put programs that belong to no distribution.
    static let standardRoots = ["/opt", "/opt/nanobot", "/usr/local/lib"]
    /// Python starts slowly on a busy machine.
    static let versionLimit = Duration.seconds(20)
    private static let prefix = "nanobot-v"
    private static let program = "nanobot"

    var roots: [String]
    var home: String?
    var path: String

    /// A nanobot that was found, and what it says of itself.
    struct Found: Sendable, Equatable {
        /// Absolute path.
        var program: String
        var version: LauncherVersion
        var environment: [String: String]
    }

    /// What came of the search.
    enum Outcome: Sendable, Equatable {
        case found(Found)
        /// One sentence: what was there and why it will not do, or where nothing was.
        case nothing(String)
    }

    /// Programs in the order in which they are tried.
    func candidates() -> [String] {
        var places = roots
        if let home {
            places += ["\(home)/.local", "\(home)/.local/share", "\(home)/.local/lib", "\(home)/.local/opt"]
        }
        var found = places.flatMap { Self.environments(in: $0) }
        if let home { found.append("\(home)/.local/bin/\(Self.program)") }
        found += path.split(separator: ":").filter { $0.hasPrefix("/") }.map { "\($0)/\(Self.program)" }
        var seen: Set<String> = []
        return found.filter { ProgramLookup.isExecutableFile($0) && seen.insert($0).inserted }
    }

    /// Tries them.
    func run() async -> Outcome {
        var problems: [String] = []
        for program in candidates() {
            let installation = NanobotInstallation(program: program)
            if let problem = installation.problem {
                problems.append("\(program): \(problem)")
                continue
            }
            do {
                let version = try await Self.version(of: program, path: path, home: home)
                return .found(Found(program: program, version: version, environment: installation.environment))
            } catch {
                problems.append("\(program): \(error.reason)")
            }
        }
        guard problems.isEmpty else { return .nothing(problems.joined(separator: "; ")) }
        let places = roots + (home.map { ["\($0)/.local"] } ?? []) + ["PATH"]
        return .nothing(
            "EDGE_NATIVE_COMMAND is not set, and no nanobot is installed in \(places.joined(separator: ", ")); set it, or "
                + "install one with deploy/nanobot/install.sh"
        )
    }

    /// Asks a nanobot for its version.
    static func version(of program: String, path: String, home: String?) async throws(ProgramOutput.Failure)
        -> LauncherVersion
    {
        let text = try await ProgramOutput.of(
            program,
            ["--version"],
            environment: ["PATH": path, "HOME": home ?? "/nonexistent", "LANG": "C.UTF-8"],
            limit: versionLimit
        )
        guard let version = LauncherVersion.find(in: text) else {
            throw ProgramOutput.Failure(reason: "it was asked for its version and said: \(text.prefix(100))")
        }
        return version
    }

    /// The launch command of a nanobot, with a bot's own configuration and workspace.
    static func command(_ program: String) -> CommandTemplate {
        CommandTemplate(words: [program, "gateway", "--config", "{config}", "--workspace", "{workspace}"])
    }

    /// `nanobot-v<version>` in a folder, or the folder itself, newest first.
    private static func environments(in folder: String) -> [String] {
        let folder = folder.count > 1 && folder.hasSuffix("/") ? String(folder.dropLast()) : folder
        if let name = folder.split(separator: "/").last, name.hasPrefix(prefix) { return ["\(folder)/bin/\(program)"] }
        var found: [(version: LauncherVersion, name: String)] = []
        for name in NanobotInstallation.entries(folder) where name.hasPrefix(prefix) {
            if let version = LauncherVersion(name.dropFirst(prefix.count)) { found.append((version, name)) }
        }
        found.sort { ($0.version, $0.name) > ($1.version, $1.name) }
        return found.map { "\(folder)/\($0.name)/bin/\(program)" }
    }
}
