import { describe, expect, it } from "vitest";
import { SEGMENT_RIGHTS, packSegmentRights, unpackSegmentRights, type SegmentRightsFields } from "../../src/index.js";

const NONE: SegmentRightsFields = {
  type: 0,
  s: false,
  dpl: 0,
  present: false,
  avl: false,
  l: false,
  db: false,
  g: false,
  unusable: false,
};

describe("access rights of a segment", () => {
  it("take no more of the type and the DPL than their bits", () => {
    expect(packSegmentRights({ ...NONE, type: 0x1f, dpl: 7 })).toBe(SEGMENT_RIGHTS.TYPE | SEGMENT_RIGHTS.DPL);
  });

  it.each([
    [{ type: 0xb }, 0xb],
    [{ s: true }, SEGMENT_RIGHTS.S],
    [{ dpl: 2 }, 0x40],
    [{ present: true }, SEGMENT_RIGHTS.P],
    [{ avl: true }, SEGMENT_RIGHTS.AVL],
    [{ l: true }, SEGMENT_RIGHTS.L],
    [{ db: true }, SEGMENT_RIGHTS.DB],
    [{ g: true }, SEGMENT_RIGHTS.G],
    [{ unusable: true }, SEGMENT_RIGHTS.UNUSABLE],
  ] satisfies [Partial<SegmentRightsFields>, number][])("hold %o in bits of its own", (fields, rights) => {
    expect(packSegmentRights({ ...NONE, ...fields })).toBe(rights);
    expect(unpackSegmentRights(rights, { ...NONE })).toEqual({ ...NONE, ...fields });
  });

  it("leave no field as it was", () => {
    const all = unpackSegmentRights(0x1f0ff, { ...NONE });
    expect(unpackSegmentRights(0, all)).toEqual(NONE);
  });
});
