import Glibc
import WireFormat

/// The bots that a node brings along from the hub that it leaves, for whoever pairs it with another.
struct LeftBots {
    let text: String

    /// - Parameters:
    ///   - running: what the running agent says; nil where none runs, and the names are not known.
    /// - Returns: nil where the node stays who it was, or holds no bots.
    init?(
        _ directory: StateDirectory,
        _ running: StatusReport?,
        leaving old: NodeIdentity,
        for new: NodeIdentity
    ) {
        guard old.hubURL != new.hubURL || old.nodeID != new.nodeID else { return nil }
        let bots =
            running?.bots.map { "\($0.name.isEmpty ? "" : "\($0.name), ")\($0.id), \($0.phase)" }
            ?? Self.found(directory)
        guard !bots.isEmpty else { return nil }
        let count = bots.count == 1 ? "1 bot" : "\(bots.count) bots"
        text = """
            This node was \(old.nodeName) (\(old.nodeID)) with \(old.hubURL) before. It holds \(count) from there, which are left as they are \
            and run on:
            \(bots.map { "  \($0)" }.joined(separator: "\n"))
            The hub it is paired with now does not have them on this node. It shows them on the node's page as strays: there each is adopted \
            (or recovered, where that hub knows it) and goes on, or is discarded with its files. On the command line: \
            control-hub strays --node "\(new.nodeName)"
            """
    }

    /// The ids of the bots that have a directory.
    private static func found(_ directory: StateDirectory) -> [String] {
        guard let folder = opendir(directory.file("bots")) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            let name = String(decoding: bytes, as: UTF8.self)
            if BotName.isValid(name) { names.append(name) }
        }
        return names.sorted()
    }
}
