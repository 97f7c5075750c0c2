extension WireSyncSkipped {
    /// The one reason for which an entry may stay behind: it is nothing outside of the machine and the process that made it.
    public static let special = "a device, a socket or a named pipe"

    /// False for what agents of before left out: links that lead out, and what they could not read.
    public var isSpecial: Bool { reason == Self.special }
}
