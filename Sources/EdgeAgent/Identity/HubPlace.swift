/// Which hub this node belongs to, and how the two know each other: everything of a pairing but the token.
struct HubPlace: Sendable, Equatable {
    let url: String
    /// PEM file of the authority to trust; nil for the system's, or a pinned key.
    let authorityFile: String?
    /// What that file held; kept with the pairing, so that another authority under the same name is another place.
    let authority: [UInt8]
    let pinSHA256: String?
    /// Empty where the token alone says which node this is.
    let nodeID: String
    /// What people call the node; empty where the token was given.
    let nodeName: String

    /// Whether the node is somebody else to its hub there: names do not count.
    func isSame(as other: HubPlace) -> Bool {
        url == other.url && authorityFile == other.authorityFile && authority == other.authority
            && pinSHA256 == other.pinSHA256 && nodeID == other.nodeID
    }
}
