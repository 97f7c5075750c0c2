import WireFormat

extension WorkspaceGuard {
    /// The rules of the node's policy, judged against every launch that this node could make of a bot.
    ///
    /// - Parameter profiles: all of the node's, also those by which the bot does not run today.
    init(_ registry: PolicyRegistry, botsDirectory: String, profiles: [RuntimeProfile]) {
        self.init(
            rules: { botID in
                // An id that is none has no workspace either.
                guard let bot = try? BotDirectory(root: botsDirectory, botID: botID) else { return { _, _ in nil } }
                let policy = registry.current
                let root = RealPath.ofPossible(bot.workspace)
                let code = WorkspaceCode(profiles, bot: botID, at: .init(home: bot.path))
                return { access, path in
                    Self.reason { () throws(PolicyRefusal) in
                        switch access {
                        case .read: try policy.checkWorkspace(.read)
                        case .write:
                            try policy.checkWrite(Self.real(path, beneath: root), code: code)
                        }
                    }
                }
            },
            installation: { botID, tree in
                guard let bot = try? BotDirectory(root: botsDirectory, botID: botID) else { return nil }
                let policy = registry.current
                return Self.reason { () throws(PolicyRefusal) in
                    try policy.checkWorkspace(.write)
                    for (place, verb) in [(tree, "transferring"), (bot.workspace, "replacing")] {
                        // What is not there holds no code.
                        guard let directory = try? BeneathDirectory(place), Defence.codeInstalls.isUp else { continue }
                        let code = WorkspaceCode(profiles, bot: botID, at: .init(home: bot.path, tree: place))
                        if let claim = code.present(in: directory) { try policy.check(claim, "\(verb) the workspace") }
                    }
                }
            },
            fileBytes: { registry.current.caps.fileBytes.map { UInt64(clamping: max(0, $0)) } },
            workspaceBytes: { registry.current.caps.workspaceBytes.map { UInt64(clamping: max(0, $0)) } },
            links: { path, destination in
                let policy = registry.current
                return Self.reason { () throws(PolicyRefusal) in
                    try policy.check(link: "\(path)", to: String(decoding: destination, as: UTF8.self))
                }
            }
        )
    }

    private static func reason(_ check: () throws(PolicyRefusal) -> Void) -> String? {
        do throws(PolicyRefusal) {
            try check()
            return nil
        } catch {
            return error.message
        }
    }

    /// Links that lead to it count as the file itself. What would lie elsewhere is never opened.
    private static func real(_ path: WorkspacePath, beneath root: String) -> String {
        guard !path.isRoot else { return "" }
        let parent = RealPath.ofPossible(root + (path.parent.isRoot ? "" : "/\(path.parent)"))
        let name = String(decoding: path.name, as: UTF8.self)
        guard PathText.isInside(parent, root), parent != root else { return name }
        return String(decoding: parent.utf8.dropFirst(root.utf8.count + 1), as: UTF8.self) + "/" + name
    }
}
