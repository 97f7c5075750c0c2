import WireFormat

extension WorkspaceGuard {
    /// The rules of the node's policy, and of what the bot's last launch ran out of its workspace.
    init(_ registry: PolicyRegistry, botsDirectory: String) {
        self.init(
            rules: { botID in
                // An id that is none has no workspace either.
                guard let bot = try? BotDirectory(root: botsDirectory, botID: botID) else { return { _, _ in nil } }
                let policy = registry.current
                let root = RealPath.ofPossible(bot.workspace)
                let launcher =
                    bot.readPlan().map { plan in
                        LauncherFiles(
                            command: [plan.executable] + plan.arguments,
                            workingDirectory: plan.workingDirectory,
                            workspace: bot.workspace
                        )
                    } ?? .none
                return { access, path in
                    do throws(PolicyRefusal) {
                        switch access {
                        case .read: try policy.checkWorkspace(.read)
                        case .write:
                            // Links that lead to it count as the file itself.
                            let parent = RealPath.ofPossible(root + (path.parent.isRoot ? "" : "/\(path.parent)"))
                            try policy.checkWrite(
                                parent + "/" + String(decoding: path.name, as: UTF8.self),
                                launcher: launcher
                            )
                        }
                        return nil
                    } catch {
                        return error.message
                    }
                }
            },
            fileBytes: { registry.current.caps.fileBytes.map { UInt64(clamping: max(0, $0)) } },
            workspaceBytes: { registry.current.caps.workspaceBytes.map { UInt64(clamping: max(0, $0)) } }
        )
    }
}
