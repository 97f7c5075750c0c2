import Glibc

/// The policy's file on the node: `/etc/edge-agent/policy.json` unless told otherwise. Read once, when the agent starts.
enum PolicyFile {
    static let defaultPath = "/etc/edge-agent/policy.json"

    /// - Parameter path: as configured; nil for the default path, which may be missing.
    /// - Throws: `AgentError` where the file cannot be read, is not understood, or could be changed by others. The agent
    ///   does not start then: without the rules it could not keep them.
    static func load(_ path: String?) throws(AgentError) -> Policy {
        let name = path ?? defaultPath
        let content: [UInt8]?
        do {
            content = try Files.readNamed(name)
        } catch {
            throw AgentError(.configuration, "policy file \(name) cannot be read: \(error.reason)")
        }
        guard let content else {
            guard path == nil else { throw AgentError(.configuration, "policy file \(name) does not exist") }
            return .standard
        }
        try requireSafe(name)
        do {
            return Policy(local: try PolicyRules(json: content), file: name)
        } catch {
            throw AgentError(.configuration, "policy file \(name): \(error.message)")
        }
    }

    /// A file that other users can write says nothing about what the owner wants.
    private static func requireSafe(_ path: String) throws(AgentError) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        guard status.st_uid == 0 || status.st_uid == geteuid() else {
            throw AgentError(
                .configuration,
                "policy file \(path) belongs to another user (uid \(status.st_uid)); run: chown root \(path)"
            )
        }
        guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
            throw AgentError(.configuration, "policy file \(path) can be changed by others; run: chmod go-w \(path)")
        }
    }
}
