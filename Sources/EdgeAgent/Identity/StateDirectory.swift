import Glibc
import ServiceReport

/// The agent's directory on the node: identity, journal and one folder a bot.
///
/// ```
/// identity.json     who this node is and its token, 0600
/// hub-ca.pem        the certificate authority given at pairing, if any
/// enrollment.json   the pairing in progress, removed when it is done
/// agent.lock        held by the one running agent
/// journal.sqlite    packets, receipts, bots
/// bots/<bot id>/    one bot each
/// ```
/// Calls block; they are made at start-up and at pairing only.
struct StateDirectory: Sendable {
    /// Absolute path without a slash at its end.
    let path: String

    /// Opens the directory, making it with mode 0700 where it is missing.
    ///
    /// - Throws: `AgentError` with `.stateDirectory` where it cannot be made, entered or written.
    init(path: String) throws(AgentError) {
        let absolute = Self.absolute(path)
        self.path = absolute
        do {
            try Files.makeDirectory(absolute, mode: 0o700)
        } catch {
            throw .stateDirectory(absolute, "cannot be made: \(error.reason)")
        }
        guard access(absolute, R_OK | W_OK | X_OK) == 0 else {
            throw .stateDirectory(absolute, "is not writable by this user (uid \(getuid())): \(String(errno: errno))")
        }
    }

    /// What is to be said where others may list or write the directory.
    var openness: String? { OpenDirectory.note(on: path, called: "state directory") }

    /// For who only looks: the directory is neither made nor tried.
    init(existing path: String) {
        self.path = Self.absolute(path)
    }

    func file(_ name: String) -> String {
        path + "/" + name
    }

    /// The file's bytes, or nil where there is no such file.
    func read(_ name: String) throws(AgentError) -> [UInt8]? {
        do {
            return try Files.read(file(name))
        } catch {
            throw .stateDirectory(path, "\(name) cannot be read: \(error.reason)")
        }
    }

    /// Replaces the file as a whole, mode 0600: after a crash or power loss it is the old or the new one.
    func write(_ name: String, _ bytes: [UInt8]) throws(AgentError) {
        do {
            try Files.replace(file(name), with: bytes, mode: 0o600)
        } catch {
            throw .stateDirectory(path, "\(name) cannot be written: \(error.reason)")
        }
    }

    func remove(_ name: String) {
        unlink(file(name))
    }

    /// Takes the lock that keeps two agents off one state directory. Released when the process ends, however it ends.
    ///
    /// - Returns: the descriptor that holds the lock; keep it open. It is not passed on to child processes.
    func lock() throws(AgentError) -> Int32 {
        let descriptor = RegularFile.open(file("agent.lock"), O_RDWR | O_CREAT)
        guard descriptor >= 0 else {
            throw .stateDirectory(path, "agent.lock cannot be opened: \(String(errno: errno))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw .stateDirectory(
                path,
                "is in use by another edge-agent; stop that one first or use another --state-dir"
            )
        }
        return descriptor
    }

    private static func absolute(_ path: String) -> String {
        var result = path
        if !result.hasPrefix("/"), let working = getcwd(nil, 0) {
            result = String(cString: working) + "/" + result
            free(working)
        }
        while result.count > 1, result.hasSuffix("/") { result.removeLast() }
        return result
    }
}
