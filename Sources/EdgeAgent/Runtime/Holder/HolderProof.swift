/// Shows the holder that who asks it to start a program can read the state directory, which bots cannot: the file `holder.key`.
///
/// A bot may run as the agent's user and have sockets of this machine opened by its profile; the socket alone would then be
/// enough to have programs started outside of its cage.
enum HolderProof {
    static let fileName = "holder.key"
    private static let bytes = 32

    /// For the agent; empty where there is no holder yet.
    static func read(_ stateDirectory: String) -> String {
        // Unreadable is as good as none: the holder then refuses.
        let bytes = (try? Files.read("\(stateDirectory)/\(fileName)")) ?? nil
        return bytes.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    /// For the holder: the one that is there, or a new one.
    static func readOrMake(_ stateDirectory: String) throws(Files.Failure) -> String {
        let present = read(stateDirectory)
        guard present.utf8.count < 2 * bytes else { return present }
        let made = RandomText.hex(bytes: bytes)
        try Files.replace("\(stateDirectory)/\(fileName)", with: Array(made.utf8), mode: 0o600)
        return made
    }

    /// Takes as long whatever is given.
    static func isRight(_ given: String, _ proof: String) -> Bool {
        guard given.utf8.count == proof.utf8.count, !proof.isEmpty else { return false }
        return zip(given.utf8, proof.utf8).reduce(0 as UInt8) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
