public import SwiftProtobuf

extension SwiftProtobuf.Message {
    /// Decodes a message from outside, with its texts and lists within `WireBounds` and its numbers within `OutsideBounds`:
    /// 64-bit counts at most 2^53, 64-bit signed ones at most that far from 0, and real numbers finite. A number beyond is
    /// the bound itself, a text beyond is cut and ends with `WireBounds.mark`, of a list the first entries stay; nothing else
    /// of the message changes. Nanoseconds (`sint64`) and 32-bit numbers stay as they are. Fields that this version does not
    /// know are dropped, because they cannot be bounded.
    ///
    /// Every message that was not made by this process is decoded here, also one that it stored: an earlier version may
    /// have stored what it was given.
    public init(bounded bytes: some SwiftProtobufContiguousBytes) throws {
        var excess = WireExcess()
        try self.init(bounded: bytes, excess: &excess)
    }

    /// The same; adds to `excess` what was left out of texts, lists and maps.
    public init(bounded bytes: some SwiftProtobufContiguousBytes, excess: inout WireExcess) throws {
        let message = try Self.withBoundedTexts(bytes, &excess)
        var finder = OutOfBoundsFinder()
        try message.traverse(visitor: &finder)
        guard finder.hasFound, Defence.numberBounds.isUp else {
            self = message
            return
        }
        // Rare, and only ever a broken or hostile peer: written once more, with the numbers within their bounds.
        var encoder = BoundingEncoder()
        try message.traverse(visitor: &encoder)
        self = try Self(serializedBytes: encoder.bytes)
    }

    private static func withBoundedTexts(
        _ bytes: some SwiftProtobufContiguousBytes,
        _ excess: inout WireExcess
    ) throws -> Self {
        guard Defence.textBounds.isUp else { return try Self(serializedBytes: bytes) }
        var options = BinaryDecodingOptions()
        options.discardUnknownFields = true
        let name = protoMessageName.split(separator: ".").last.map(String.init) ?? ""
        // A message without texts and lists has none to bound.
        guard let bounds = WireBounds.graph[name] else { return try Self(serializedBytes: bytes, options: options) }
        var bounder = TextBounder()
        let fitting = try bytes.withUnsafeBytes { try bounder.bound($0, bounds) }
        excess.add(bounder.excess)
        guard let fitting else { return try Self(serializedBytes: bytes, options: options) }
        return try Self(serializedBytes: fitting, options: options)
    }

    /// The message's bytes as a receiver keeps them, for one to be sent: a reason that a bot has made long is cut here
    /// already, and is no fault of the sender's.
    func fittingBytes() throws -> [UInt8] {
        let bytes: [UInt8] = try serializedBytes()
        let name = Self.protoMessageName.split(separator: ".").last.map(String.init) ?? ""
        guard Defence.textBounds.isUp, let bounds = WireBounds.graph[name] else { return bytes }
        var bounder = TextBounder()
        return try bytes.withUnsafeBytes { try bounder.bound($0, bounds) } ?? bytes
    }
}

/// Looks for numbers outside of their bounds.
private struct OutOfBoundsFinder: Visitor {
    private(set) var hasFound = false

    mutating func visitSingularDoubleField(value: Double, fieldNumber: Int) {
        if !OutsideBounds.real.contains(value) { hasFound = true }
    }

    mutating func visitSingularInt64Field(value: Int64, fieldNumber: Int) {
        if !OutsideBounds.integer.contains(value) { hasFound = true }
    }

    mutating func visitSingularUInt64Field(value: UInt64, fieldNumber: Int) {
        if value > OutsideBounds.count.upperBound { hasFound = true }
    }

    mutating func visitSingularSInt64Field(value: Int64, fieldNumber: Int) {}
    mutating func visitSingularBoolField(value: Bool, fieldNumber: Int) {}
    mutating func visitSingularStringField(value: String, fieldNumber: Int) {}
    mutating func visitSingularBytesField(value: some Sequence<UInt8>, fieldNumber: Int) {}
    mutating func visitSingularEnumField<E: Enum>(value: E, fieldNumber: Int) {}
    mutating func visitUnknown(bytes: some Sequence<UInt8>) {}

    mutating func visitSingularMessageField<M: Message>(value: M, fieldNumber: Int) throws {
        if !hasFound { try value.traverse(visitor: &self) }
    }

    mutating func visitMapField<KeyType, ValueType: MapValueType>(
        fieldType: _ProtobufMap<KeyType, ValueType>.Type,
        value: _ProtobufMap<KeyType, ValueType>.BaseType,
        fieldNumber: Int
    ) throws {
        for (key, value) in value {
            try KeyType.visitSingular(value: key, fieldNumber: 1, with: &self)
            try ValueType.visitSingular(value: value, fieldNumber: 2, with: &self)
        }
    }

    mutating func visitMapField<KeyType, ValueType>(
        fieldType: _ProtobufEnumMap<KeyType, ValueType>.Type,
        value: _ProtobufEnumMap<KeyType, ValueType>.BaseType,
        fieldNumber: Int
    ) throws where ValueType.RawValue == Int {
        for key in value.keys { try KeyType.visitSingular(value: key, fieldNumber: 1, with: &self) }
    }

    mutating func visitMapField<KeyType, ValueType>(
        fieldType: _ProtobufMessageMap<KeyType, ValueType>.Type,
        value: _ProtobufMessageMap<KeyType, ValueType>.BaseType,
        fieldNumber: Int
    ) throws {
        for (key, value) in value {
            try KeyType.visitSingular(value: key, fieldNumber: 1, with: &self)
            try visitSingularMessageField(value: value, fieldNumber: 2)
        }
    }
}

/// Writes a message with its numbers within their bounds. What this version does not know of it is left out, as its
/// numbers cannot be told from anything else.
private struct BoundingEncoder: Visitor {
    private(set) var bytes: [UInt8] = []

    /// Protocol Buffers' wire types.
    private enum WireType: UInt64 {
        case varint = 0
        case fixed64 = 1
        case lengthDelimited = 2
        case fixed32 = 5
    }

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    private mutating func start(_ fieldNumber: Int, _ type: WireType) {
        varint(UInt64(clamping: fieldNumber) << 3 | type.rawValue)
    }

    private mutating func fixed(_ value: some FixedWidthInteger & UnsignedInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func text(_ content: some Collection<UInt8>, _ fieldNumber: Int) {
        start(fieldNumber, .lengthDelimited)
        varint(UInt64(content.count))
        bytes.append(contentsOf: content)
    }

    mutating func visitSingularDoubleField(value: Double, fieldNumber: Int) {
        start(fieldNumber, .fixed64)
        let bounds = OutsideBounds.real
        fixed((value.isNaN ? 0 : min(max(value, bounds.lowerBound), bounds.upperBound)).bitPattern)
    }

    mutating func visitSingularFloatField(value: Float, fieldNumber: Int) {
        start(fieldNumber, .fixed32)
        fixed((value.isNaN ? 0 : min(max(value, -0x1p53), 0x1p53)).bitPattern)
    }

    mutating func visitSingularInt64Field(value: Int64, fieldNumber: Int) {
        start(fieldNumber, .varint)
        let bounds = OutsideBounds.integer
        varint(UInt64(bitPattern: min(max(value, bounds.lowerBound), bounds.upperBound)))
    }

    mutating func visitSingularUInt64Field(value: UInt64, fieldNumber: Int) {
        start(fieldNumber, .varint)
        varint(min(value, OutsideBounds.count.upperBound))
    }

    mutating func visitSingularSInt64Field(value: Int64, fieldNumber: Int) {
        start(fieldNumber, .varint)
        varint(UInt64(bitPattern: value << 1 ^ value >> 63))
    }

    mutating func visitSingularSInt32Field(value: Int32, fieldNumber: Int) {
        visitSingularSInt64Field(value: Int64(value), fieldNumber: fieldNumber)  // fits: wider
    }

    mutating func visitSingularFixed32Field(value: UInt32, fieldNumber: Int) {
        start(fieldNumber, .fixed32)
        fixed(value)
    }

    mutating func visitSingularSFixed32Field(value: Int32, fieldNumber: Int) {
        visitSingularFixed32Field(value: UInt32(bitPattern: value), fieldNumber: fieldNumber)
    }

    mutating func visitSingularFixed64Field(value: UInt64, fieldNumber: Int) {
        start(fieldNumber, .fixed64)
        fixed(min(value, OutsideBounds.count.upperBound))
    }

    mutating func visitSingularSFixed64Field(value: Int64, fieldNumber: Int) {
        start(fieldNumber, .fixed64)
        let bounds = OutsideBounds.integer
        fixed(UInt64(bitPattern: min(max(value, bounds.lowerBound), bounds.upperBound)))
    }

    mutating func visitSingularBoolField(value: Bool, fieldNumber: Int) {
        start(fieldNumber, .varint)
        bytes.append(value ? 1 : 0)
    }

    mutating func visitSingularStringField(value: String, fieldNumber: Int) {
        text(value.utf8, fieldNumber)
    }

    mutating func visitSingularBytesField(value: some Collection<UInt8>, fieldNumber: Int) {
        text(value, fieldNumber)
    }

    mutating func visitSingularEnumField<E: Enum>(value: E, fieldNumber: Int) {
        start(fieldNumber, .varint)
        varint(UInt64(bitPattern: Int64(clamping: value.rawValue)))
    }

    mutating func visitSingularMessageField<M: Message>(value: M, fieldNumber: Int) throws {
        var inner = BoundingEncoder()
        try value.traverse(visitor: &inner)
        text(inner.bytes, fieldNumber)
    }

    mutating func visitUnknown(bytes: some Sequence<UInt8>) {}

    private mutating func entry(_ fieldNumber: Int, _ fill: (inout BoundingEncoder) throws -> Void) rethrows {
        var inner = BoundingEncoder()
        try fill(&inner)
        text(inner.bytes, fieldNumber)
    }

    mutating func visitMapField<KeyType, ValueType: MapValueType>(
        fieldType: _ProtobufMap<KeyType, ValueType>.Type,
        value: _ProtobufMap<KeyType, ValueType>.BaseType,
        fieldNumber: Int
    ) throws {
        for (key, value) in value {
            try entry(fieldNumber) {
                try KeyType.visitSingular(value: key, fieldNumber: 1, with: &$0)
                try ValueType.visitSingular(value: value, fieldNumber: 2, with: &$0)
            }
        }
    }

    mutating func visitMapField<KeyType, ValueType>(
        fieldType: _ProtobufEnumMap<KeyType, ValueType>.Type,
        value: _ProtobufEnumMap<KeyType, ValueType>.BaseType,
        fieldNumber: Int
    ) throws where ValueType.RawValue == Int {
        for (key, value) in value {
            try entry(fieldNumber) {
                try KeyType.visitSingular(value: key, fieldNumber: 1, with: &$0)
                $0.visitSingularEnumField(value: value, fieldNumber: 2)
            }
        }
    }

    mutating func visitMapField<KeyType, ValueType>(
        fieldType: _ProtobufMessageMap<KeyType, ValueType>.Type,
        value: _ProtobufMessageMap<KeyType, ValueType>.BaseType,
        fieldNumber: Int
    ) throws {
        for (key, value) in value {
            try entry(fieldNumber) {
                try KeyType.visitSingular(value: key, fieldNumber: 1, with: &$0)
                try $0.visitSingularMessageField(value: value, fieldNumber: 2)
            }
        }
    }
}
