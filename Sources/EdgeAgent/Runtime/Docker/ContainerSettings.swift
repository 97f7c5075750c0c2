/// What a profile of the backend `docker` says beyond what every profile does.
struct ContainerSettings: Sendable, Equatable {
    /// When the image is fetched from its registry.
    enum Pull: String, Sendable, CaseIterable {
        /// Where the node does not have it.
        case missing
        /// Before every launch; the one that is here serves where the registry cannot be reached.
        case always
        case never
    }

    /// A directory of the node inside the container.
    struct Mount: Sendable, Equatable {
        var source: String
        var target: String
        var isReadOnly = false
    }

    var image: String
    /// Who named the image.
    var imageOrigin = PolicyOrigin.node
    var pull = Pull.missing
    /// `bridge`, `host`, `none`, or the name of a network of the engine.
    var network = "bridge"
    var mounts: [Mount] = []
    /// The image's own files cannot be changed; `/tmp` and the bot's directories can.
    var hasReadOnlyRoot = true
    /// Of `/tmp`, which lies in memory.
    var temporaryBytes: UInt64 = 64 << 20
    /// Capabilities the bot keeps, such as `NET_BIND_SERVICE`; it has none otherwise.
    var capabilities: [String] = []
    /// Whether programs inside may gain rights their parent has not, by set-user-id files.
    var allowsNewPrivileges = false
    /// A small init as first process passes signals on and collects orphans.
    var hasInit = true

    /// The container shares the node's own network.
    var usesHostNetwork: Bool { network == "host" }
    var hasNetwork: Bool { network != "none" }
}
