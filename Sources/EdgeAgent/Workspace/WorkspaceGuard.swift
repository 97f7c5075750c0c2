import WireFormat

/// What the node's owner does not let a hub do to a workspace.
struct WorkspaceGuard: Sendable {
    /// What is wanted of an entry.
    enum Access: Sendable {
        case read
        /// Written, replaced or removed.
        case write
    }

    /// One bot's rules: why an access is refused, one sentence that names the rule; nil where nothing speaks against it.
    typealias Rules = @Sendable (_ access: Access, _ path: WorkspacePath) -> String?

    /// Why a symbolic link that leads out of the workspace may not come into one, by where it leads; nil where nothing speaks
    /// against it.
    typealias LinkRules = @Sendable (_ path: WorkspacePath, _ destination: [UInt8]) -> String?

    /// Finds out what the rules of a bot are, once for many entries.
    let rules: @Sendable (_ botID: String) -> Rules
    /// Why a transferred tree may not take the workspace's place; nil where nothing speaks against it.
    let installation: @Sendable (_ botID: String, _ tree: String) -> String?
    /// The largest file and the largest workspace a hub may write, in bytes; nil: no limit of the node's owner.
    let fileBytes: @Sendable () -> UInt64?
    let workspaceBytes: @Sendable () -> UInt64?
    var links: LinkRules = { _, _ in nil }

    /// Nothing is refused.
    static let open = WorkspaceGuard(
        rules: { _ in { _, _ in nil } },
        installation: { _, _ in nil },
        fileBytes: { nil },
        workspaceBytes: { nil }
    )

    /// Throws `refused`.
    func check(_ botID: String, _ access: Access, _ path: WorkspacePath) throws(WorkspaceFailure) {
        if let reason = rules(botID)(access, path) { throw WorkspaceFailure(.refused, reason) }
    }
}
