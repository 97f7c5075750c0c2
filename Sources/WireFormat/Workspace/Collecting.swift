/// The bytes as the type a generated message keeps them in, which belongs to a module that is not imported here.
func collect<Bytes: RangeReplaceableCollection>(_ bytes: some Sequence<UInt8>) -> Bytes where Bytes.Element == UInt8 {
    Bytes(bytes)
}
