/// The versions of the node protocol this build speaks.
public enum ProtocolVersion {
    /// Oldest and newest, both included.
    public static let supported: ClosedRange<UInt32> = 1...1

    /// The newest version both sides speak, or nil. A range with its ends exchanged, or of zeros, matches nothing.
    public static func negotiate(
        _ hello: WireHello,
        supported: ClosedRange<UInt32> = ProtocolVersion.supported
    ) -> UInt32? {
        guard hello.protocolMin <= hello.protocolMax else { return nil }
        let offered = hello.protocolMin...hello.protocolMax
        guard offered.overlaps(supported) else { return nil }
        return min(offered.upperBound, supported.upperBound)
    }
}
