import Glibc
import WireFormat

/// What of one bot's workspace the launches of this node would run or load, by whichever of its runtime profiles.
///
/// The hub may not change it (rule `workspace_code`): a bot may get another profile tomorrow, and what lies there then is run. Paths
/// are relative to the workspace, real in their folders, and looked at in the tree that is there: another tree, such as one that
/// is to take the workspace's place, is asked in its own words.
struct WorkspaceCode: Sendable {
    /// One thing that a launch runs.
    struct Claim: Sendable, Equatable {
        enum Place: Sendable, Equatable {
            /// The entry itself and all it holds.
            case tree(String)
            /// Nothing but the entry: a link on the way to a program.
            case link(String)
            case everything
        }

        let profile: String
        let place: Place
        /// The program that is run there; nil where that is not known.
        var program: String?

        /// For people.
        var what: String {
            switch place {
            case .tree(let path): program ?? "what lies in \(path)"
            case .link(let path): path
            case .everything: program ?? "what lies in the workspace"
            }
        }

        /// How much of the workspace that makes the owner's, for people.
        var reach: String {
            switch place {
            case .tree(let path): "so everything below \(path)/ is code"
            case .link: "so where that leads is code"
            case .everything: "so everything in the workspace is code"
            }
        }

        fileprivate var rank: Int {
            switch place {
            case .link: 0
            case .tree: 1
            case .everything: program == nil ? 3 : 2
            }
        }

        /// Whether a change at `path` would change what is run: it is it, holds it, or is held by it.
        func isTouched(by path: String) -> Bool {
            func isInside(_ path: String, _ folder: String) -> Bool {
                folder.isEmpty || path == folder || path.hasPrefix(folder + "/")
            }
            return switch place {
            case .everything: true
            case .tree(let own): isInside(path, own) || isInside(own, path)
            case .link(let own): isInside(own, path)
            }
        }
    }

    /// Where the launches are, of which the claims are made.
    struct Place: Sendable {
        /// The bot's directory.
        let home: String
        /// The tree that is, or would be, the workspace.
        let tree: String

        init(home: String, tree: String? = nil) {
            self.home = home
            self.tree = tree ?? home + "/workspace"
        }
    }

    private(set) var claims: [Claim] = []

    /// Nothing is run out of the workspace.
    static let none = WorkspaceCode()

    private init() {}

    /// - Parameter profiles: all that the bot could get; or the one that it is to be launched by.
    init(
        _ profiles: [RuntimeProfile],
        bot botID: String,
        at place: Place,
        isExecutable: @escaping (String) -> Bool = WorkspaceCode.isExecutableFile
    ) {
        let home = RealPath.ofPossible(place.home)
        // Its own last name is not followed: a workspace that is a link is none.
        let tree = WalkedPath(place.tree).last
        for profile in profiles {
            let isContainer = profile.backend == .docker
            let ownHome = isContainer ? ContainerPaths.home : home
            let workspace = ownHome + "/workspace"
            let words = profile.command.filled([
                "config": ownHome + "/config.json", "workspace": workspace, "bot_id": botID, "port": "0",
            ])
            let mentions = CodeMention.find(
                in: words,
                isEntryPointUnknown: isContainer,
                environment: profile.environment,
                home: ownHome,
                workspace: workspace
            )
            var aliases = [
                WalkedPath.Alias(name: workspace, place: tree),
                WalkedPath.Alias(name: home + "/workspace", place: tree),
            ]
            if isContainer { aliases.append(WalkedPath.Alias(name: ContainerPaths.home, place: home)) }
            let claimer = Claimer(profile: profile.name, tree: tree, aliases: aliases, isExecutable: isExecutable)
            for claim in mentions.flatMap(claimer.claims) where !claims.contains(claim) { claims.append(claim) }
        }
        // The nearest first: that is what a refusal names.
        claims.sort { ($0.rank, $0.profile, $0.what) < ($1.rank, $1.profile, $1.what) }
    }

    /// What a change at `path` would change; nil where it would change nothing that is run.
    func touched(by path: String) -> Claim? { claims.first { $0.isTouched(by: path) } }

    /// What of it there is in the tree that was looked at.
    func present(in tree: BeneathDirectory) -> Claim? {
        claims.first { claim in
            switch claim.place {
            // `try?`: more than the one name that is looked for.
            case .everything: (try? tree.names(.root, limit: 1)).map { !$0.isEmpty } ?? true
            case .tree(let path), .link(let path):
                WorkspacePath(path.utf8).map { Self.isThere($0, in: tree) } ?? false
            }
        }
    }

    /// What cannot be looked at counts as there.
    private static func isThere(_ path: WorkspacePath, in tree: BeneathDirectory) -> Bool {
        do throws(WorkspaceFailure) {
            let parent = try tree.place(path.parent)
            return EntryFacts(parent.descriptor, path.nameText) != nil || errno != ENOENT
        } catch {
            return ![.notFound, .notADirectory, .outside].contains(error.code)
        }
    }

    static func isExecutableFile(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_mode & 0o111 != 0
    }
}

/// Turns what a command names into what that is in one tree.
private struct Claimer {
    let profile: String
    let tree: String
    let aliases: [WalkedPath.Alias]
    let isExecutable: (String) -> Bool

    func claims(_ mention: CodeMention) -> [WorkspaceCode.Claim] {
        switch mention {
        case .everything: return Defence.codeInText.isUp ? [claim(.everything)] : []
        case .folder(let path):
            let walked = WalkedPath(path, aliases: aliases)
            guard let own = relative(walked.end) else { return way(walked) }
            return way(walked) + [claim(own.isEmpty ? .everything : .tree(own))]
        case .executable(let path):
            return isExecutable(WalkedPath(path, aliases: aliases).end) ? claims(.program(path)) : []
        case .program(let path):
            let walked = WalkedPath(path, aliases: aliases)
            return way(walked)
                + Set([walked.end, walked.last]).compactMap(relative).map { own in
                    let slash = own.lastIndex(of: "/")
                    return claim(
                        slash.map { .tree(String(own[..<$0])) } ?? .everything,
                        program: own.isEmpty ? nil : own
                    )
                }
        }
    }

    /// Whoever can bend the way decides where it ends.
    private func way(_ walked: WalkedPath) -> [WorkspaceCode.Claim] {
        let links = Defence.codeLinks.isUp ? walked.links.compactMap(relative) : []
        return walked.isEndless && !links.isEmpty ? [claim(.everything)] : links.map { claim(.link($0)) }
    }

    private func claim(_ place: WorkspaceCode.Claim.Place, program: String? = nil) -> WorkspaceCode.Claim {
        WorkspaceCode.Claim(profile: profile, place: place, program: program)
    }

    /// The path below the tree; nil for what lies elsewhere.
    private func relative(_ path: String) -> String? {
        guard PathText.isInside(path, tree) else { return nil }
        return String(decoding: path.utf8.dropFirst(tree.utf8.count + 1), as: UTF8.self)
    }
}
